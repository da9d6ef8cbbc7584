"""HTTP/1.1 clients for the data path, behind one protocol."""
