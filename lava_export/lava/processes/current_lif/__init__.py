"""Units with a current that decays and a soft reset."""
