"""The only room with psycopg: pool, listening, migrations, the embedded server, and one module of queries per noun."""
