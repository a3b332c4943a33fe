"""What Bürgin et al. (2026) state about neurons, one file each: measured on random layers, then summed up.

Each of those that `effective_theory` runs offers `rows(source)`, one draw, and `quantities(table)`, one value per draw
for every name. The others are shared by them, or show what holds on a layer made by hand.
"""
