"""Units with a current behind a forget gate and a soft reset."""
