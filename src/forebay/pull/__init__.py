"""The transfer engine: fetch, verify, resume; knows nothing of stores."""
