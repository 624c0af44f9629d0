"""Jobs that lost their process twice run alone, each process of its own: the pool, and the program that it starts."""
