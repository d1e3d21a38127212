"""Running the core: row order, epochs, validation, stopping, history, continuing. It knows no formulas."""
