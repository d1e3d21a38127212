"""Seeing inside: one training step with every number, for people, browsers and programs. The core computes, not it."""
