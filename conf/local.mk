# Samples
