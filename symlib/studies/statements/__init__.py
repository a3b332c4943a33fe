"""What Bürgin et al. (2026) state about neurons, one file each: measured on random layers, then summed up.

Each offers `rows(source)`, one draw, and `quantities(table)`, one value per draw for every name.
"""
