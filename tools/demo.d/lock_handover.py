"""Two threads that take turns: each hand-over is one lock released and another one waited for."""
import threading

TURNS = 40000

turn = [threading.Lock(), threading.Lock()]
turn[1].acquire()
words = []


def play(me):
    for i in range(TURNS):
        turn[me].acquire()
        words.append(me)
        turn[1 - me].release()


players = [threading.Thread(target=play, args=(i,)) for i in (0, 1)]
for player in players:
    player.start()
for player in players:
    player.join()
assert words == [0, 1] * TURNS
print(f"{len(words)} turns, always the other's")
