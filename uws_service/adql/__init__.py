"""ADQL 2.1 to the SQL of an engine: pure, from text and a list of tables to text and a list of columns."""
