% Processes that compute on more schedulers than there are cpus; a process's stack grows towards its heap.
-module(heaps).
-export([main/0]).

fib(N) when N < 2 -> N;
fib(N) -> fib(N - 1) + fib(N - 2).

work(0, Sum) -> Sum;
work(K, Sum) ->
    List = [X * K || X <- lists:seq(1, 300)],
    All = lists:sum(List),
    All = K * 300 * 301 div 2,
    610 = fib(15),
    300 = maps:size(maps:from_list([{X, X} || X <- List])),
    work(K - 1, Sum + All).

main() ->
    Self = self(),
    Workers = [spawn_link(fun() -> Self ! {self(), work(1500 + I, 0)} end) || I <- lists:seq(1, 60)],
    io:format("~p~n", [lists:sum([receive {W, Sum} -> Sum end || W <- Workers])]),
    {ok, Listen} = gen_tcp:listen(0, [binary, {active, false}, {packet, line}]),
    {ok, Port} = inet:port(Listen),
    spawn_link(fun() -> echo(Listen) end),
    Lines = [begin
                 {ok, S} = gen_tcp:connect("localhost", Port, [binary, {active, false}, {packet, line}]),
                 ok = gen_tcp:send(S, integer_to_list(I) ++ "\n"),
                 {ok, Line} = gen_tcp:recv(S, 0),
                 gen_tcp:close(S),
                 Line
             end || I <- lists:seq(1, 20)],
    io:format("~p~n", [Lines]),
    io:format("~s~n", [os:cmd("echo a | cat")]),
    receive after 20 -> ok end,
    halt(3).

echo(Listen) ->
    {ok, S} = gen_tcp:accept(Listen),
    {ok, Line} = gen_tcp:recv(S, 0),
    ok = gen_tcp:send(S, Line),
    echo(Listen).
