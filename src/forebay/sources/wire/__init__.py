"""HTTP/1.1 as sources and the transfer engine need it: raw, with deadlines, proxies, own trust and safe
redirects."""
