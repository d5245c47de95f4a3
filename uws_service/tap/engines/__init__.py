"""What runs translated queries: DuckDB on Parquet files, PostgreSQL with its sky extensions."""
