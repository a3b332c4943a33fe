"""Models and metrics of the companion to two papers on neural parameter symmetries.

Two W-asymmetric networks on the embedded digits, and the loss halfway between them:

>>> from symlib.asymmetry import WAsymmetry, constraint
>>> from symlib.data.images import digits
>>> from symlib.interpolation import curves, midpoint_barrier, mixing_weights
>>> from symlib.networks.mlp import MLP
>>> from symlib.population import initialise
>>> from symlib.training import Recipe, train
>>> data, model = digits(), MLP((64, 32, 10))
>>> fixed = constraint(model, WAsymmetry(n_fix=(8, 8), sigma_F=(1.0, 0.5)), mask_seed=0)
>>> start = initialise(model, fixed, init_seeds=[0, 1])
>>> nets, _ = train(start, data.train.x, data.train.y, Recipe(3, 64, 1e-3, 0.03), order_seeds=[0, 1])
>>> line = curves(nets[:1], nets[1:], mixing_weights(25), data.test.x, data.test.y)
>>> bool(midpoint_barrier(line.loss).abs() < 0.5)
True

With a training loop of your own, `asymmetry.parametrize_with` keeps the constraint, and `population.from_models` brings
the trained networks back.
"""

__version__ = "0.1.0"
