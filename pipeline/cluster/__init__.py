"""Both stages on the machines of a Ray cluster.

Ray moves work, it remembers none: a video is done when the store's log says so. `board` deals out
shards, `ray_engine` is the only module that imports Ray, `extracting` and `scoring` are the two
stages.
"""
