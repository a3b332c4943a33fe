"""What a neuron can express on the inputs it meets, what that costs, and whether the cost tells neurons apart."""
