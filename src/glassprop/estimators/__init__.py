"""The scikit-learn face: MLPClassifier and MLPRegressor. It holds no formulas: the core computes, in whole epochs."""
