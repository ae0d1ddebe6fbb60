"""One module a file format of event cameras: bytes in, columns out; `decode.events` says which is which."""
