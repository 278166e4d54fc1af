"""Units of Spiking Recurrent Cells."""
