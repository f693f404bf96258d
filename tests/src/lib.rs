//! Nothing: this package is its test suites in `tests/` and its benchmarks in `benches/`.
