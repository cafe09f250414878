"""How we tell: the servicers, their server and the clients' side of it."""
