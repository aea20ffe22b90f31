"""The only fakes of the repository; each passes the conformance suite of its interface."""
