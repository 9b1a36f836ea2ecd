"""Networks of one point each; the caller batches."""
