"""Figures and tables of the studies: what they show comes from a record, nothing is computed here but means and sds."""
