"""Seeing inside: a step with every number, whether gradients and steps are right, what is wrong with a network.

It holds no formulas of training: its numbers come from the core that trains.
"""
