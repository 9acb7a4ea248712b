# splitmilter
