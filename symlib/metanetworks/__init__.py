"""Networks that look at the weights of other networks and say how well those classify."""
