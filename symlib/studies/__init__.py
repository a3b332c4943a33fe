"""One module per experiment: a checked configuration in, a record out."""
