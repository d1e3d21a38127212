"""Tables in: files and data frames become what training takes, and predictions become labels and units again.

It knows columns, classes and units, not the algorithm.
"""
