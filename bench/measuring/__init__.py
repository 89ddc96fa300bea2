"""What every bench asks of the machine, and of the processes it measures."""
