PARTS = ()


def steps(server, made, folder, chosen, seed, results):
    return []
