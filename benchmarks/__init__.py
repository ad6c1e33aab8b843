"""The measurements cited in the documentation; ``python -m benchmarks`` runs all of them."""
