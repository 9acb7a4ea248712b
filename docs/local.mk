# Manuals
