"""Seeing inside: whether gradients and steps are right, what is wrong with a network, and what happened at a step.

It holds no formulas of training: its numbers come from the core that trains.
"""
