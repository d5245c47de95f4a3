"""Query engines: DuckDB on Parquet files, and PostgreSQL."""
