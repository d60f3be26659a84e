//! Entry points of the fuzz targets in `fuzz/`.
