"""The jobs: what each reads, writes and needs, and the graph that it builds."""
