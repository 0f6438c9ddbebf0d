"""isocost: where to train, measured, optimised, rehearsed, run and checked.

The parts, in the order in which data flows through them:

catalog    what can be rented, and the facts that price it
profiles   what a training job does on a device: measuring and predicting
optimizer  the plan that minimises L = alpha Performance + beta Cost + gamma Flexibility
simulator  the plan's rehearsal under spot losses and failures
execution  the plan as a real distributed run
reports    records drawn as one HTML page
service    the live view: all of this over HTTP, for one folder on this machine
"""

__version__ = "0.1.0"
