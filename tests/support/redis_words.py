"""Redis commands at random, their arguments included; only such whose answers can be told beforehand.

A line is a command, and a number before it is how often it is taken compared with one without. `@` and a letter stand
for a key: of strings `@s`, numbers `@n`, lists `@l`, hashes `@h`, sets `@t`, sorted sets `@z`, streams `@x`, places
`@g`, bits `@b`, HyperLogLogs `@p`, of any kind `@k`. `$` and a letter stand for a value: anything `$v`, a member or
field `$m`, a small number `$i`, an offset `$o`, a float `$f`, a new id of a stream `$d`, an old one `$e`, a channel
`$c`, a pattern `$p`, a sharded channel `$q`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Table = dict[str, int]
"""How often each line is taken."""


def _table(text: str) -> Table:
    lines: Table = {}
    for line in text.strip().splitlines():
        weight, _, rest = line.partition(" ")
        lines[rest if weight.isdigit() else line] = int(weight) if weight.isdigit() else 1
    return lines


DATA = _table("""
12 SET @s $v
2 SET @s $v NX
SET @s $v XX GET
SET @s $v EXAT 4102444800
10 GET @s
GETDEL @s
GETEX @s PERSIST
GETSET @s $v
SETNX @s $v
2 APPEND @s $v
STRLEN @s
GETRANGE @s $i $i
SUBSTR @s 0 3
SETRANGE @s $o $m
2 MSET @s $v @s $v
MSETNX @s $v @n 1
3 MGET @s @n @s @l
LCS @s @s LEN
8 INCR @n
2 DECR @n
INCRBY @n $i
DECRBY @n $i
INCRBYFLOAT @n $f
GET @n
8 LPUSH @l $v
6 RPUSH @l $v $m
LPUSHX @l $v
2 LPOP @l
LPOP @l 2
2 RPOP @l
4 LRANGE @l 0 -1
LRANGE @l $i $i
LLEN @l
LINDEX @l $i
LSET @l $i $v
LINSERT @l BEFORE $m $v
LREM @l $i $m
LTRIM @l 0 6
LMOVE @l @l LEFT RIGHT
RPOPLPUSH @l @l
LPOS @l $m COUNT 0
LMPOP 2 @l @l LEFT COUNT 2
SORT @l ALPHA
SORT @l
SORT_RO @t ALPHA DESC LIMIT 0 3
SORT @l ALPHA STORE @l
5 HSET @h $m $v $m $v
2 HGET @h $m
HMGET @h $m $m
4 HGETALL @h
HDEL @h $m
HLEN @h
HEXISTS @h $m
HKEYS @h
HVALS @h
HINCRBY @h n $i
HINCRBYFLOAT @h f $f
HSETNX @h $m $v
HSTRLEN @h $m
HSCAN @h 0
HRANDFIELD @h 100 WITHVALUES
5 SADD @t $m $m $i
SREM @t $m
4 SMEMBERS @t
SISMEMBER @t $m
SMISMEMBER @t $m $i
SCARD @t
SINTER @t @t
SUNION @t @t
SDIFF @t @t
SINTERSTORE @t @t @t
SUNIONSTORE @t @t @t
SMOVE @t @t $m
SINTERCARD 2 @t @t
SPOP @t 100
SSCAN @t 0 COUNT 100
6 ZADD @z $f $m $i $m
ZADD @z GT CH $f $m
ZADD @z NX INCR $f $m
ZREM @z $m
2 ZSCORE @z $m
ZMSCORE @z $m $m
4 ZRANGE @z 0 -1 WITHSCORES
ZRANGE @z -inf +inf BYSCORE REV LIMIT 0 2
ZRANGE @z [a [m BYLEX
ZRANGEBYSCORE @z ($f +inf WITHSCORES
ZRANK @z $m WITHSCORE
ZREVRANK @z $m
ZCARD @z
ZCOUNT @z -inf $f
ZINCRBY @z $f $m
2 ZPOPMIN @z
ZPOPMAX @z 2
ZMPOP 1 @z MIN
ZUNION 2 @z @z WITHSCORES
ZINTERSTORE @z 2 @z @z WEIGHTS 2 3
ZDIFF 2 @z @z
ZRANGESTORE @z @z 0 1
ZSCAN @z 0
ZREMRANGEBYRANK @z 3 -1
5 XADD @x $d f $v
XADD @x NOMKSTREAM $d g $v
XLEN @x
3 XRANGE @x - +
XREVRANGE @x + - COUNT 1
XDEL @x $e
XTRIM @x MAXLEN 2
3 XGROUP CREATE @x grp 0 MKSTREAM
XGROUP CREATECONSUMER @x grp c1
XGROUP DESTROY @x grp
3 XREADGROUP GROUP grp c1 COUNT 2 STREAMS @x >
XREADGROUP GROUP grp c1 STREAMS @x 0
XACK @x grp $e
XPENDING @x grp
XCLAIM @x grp c2 0 $e JUSTID
XAUTOCLAIM @x grp c2 0 0 JUSTID
XREAD COUNT 2 STREAMS @x 0
XREAD STREAMS @x @x 0 $e
XINFO GROUPS @x
XINFO STREAM @x
2 GEOADD @g 13.4 52.5 $m 2.35 48.85 paris
GEOPOS @g $m paris
GEODIST @g $m paris km
GEOSEARCH @g FROMLONLAT 10 50 BYRADIUS 2000 km ASC WITHDIST
GEOHASH @g paris
2 SETBIT @b $o 1
GETBIT @b $o
BITCOUNT @b
BITPOS @b 1
BITFIELD @b SET u8 $o 200 INCRBY i5 0 3 OVERFLOW FAIL
BITFIELD_RO @b GET u4 0
BITOP XOR @b @b @b
2 PFADD @p $m $m
PFCOUNT @p @p
PFMERGE @p @p
4 DEL @k
UNLINK @k @k
2 EXISTS @k @k
2 TYPE @k
RENAME @k @k
RENAMENX @k @k
COPY @s @s REPLACE
COPY @k @k DB 1
MOVE @k 2
EXPIREAT @k 4102444800
EXPIRETIME @k
PEXPIRETIME @k
PERSIST @k
EXPIRE @k -1
OBJECT ENCODING @k
OBJECT REFCOUNT @s
DUMP @s
RESTORE @s 0 nonsense
TOUCH @k @k
DBSIZE
DBSIZE
KEYS s0*
FLUSHDB SYNC
SWAPDB 0 1
WAIT 0 0
2 PING
PING $v
2 ECHO $v
""")

ODD = _table("""
GET
SET @s
2 LPUSH @l
NOSUCH a b
NOSUCH
GeT @s
set @s $v
hgetall @s
LPUSH @s $v
INCR @l
SET @s $v NX XX
OBJECT NOSUCH @s
XADD @x 0-0 f v
COMMAND COUNT
COMMAND INFO get
COMMAND INFO nosuch
COMMAND GETKEYS MSET a 1 b 2
CONFIG GET maxmemory-policy
CONFIG GET nosuch
CONFIG NOSUCH
CLIENT
ACL WHOAMI
ACL CAT hyperloglog
MEMORY DOCTOR
LATENCY RESET
SLOWLOG LEN
FUNCTION LIST
SCRIPT HELP
OBJECT HELP
DEBUG
PUBLISH
EVAL
EVAL return 0
EXEC now
MULTI now
PING a b
SELECT
SELECT a b
READONLY
ASKING
CLUSTER INFO
LOLWUT VERSION 5 1 1 1
""")

CONTROL = _table("""
14 MULTI
14 EXEC
3 DISCARD
6 WATCH @s @n
2 WATCH @k
2 UNWATCH
6 SELECT 0
5 SELECT 1
2 SELECT 2
SELECT 99
SELECT -1
SELECT a
4 HELLO 3
3 HELLO 2
HELLO
HELLO 3 SETNAME app
HELLO 4
HELLO x
HELLO 3 SETNAME
3 RESET
CLIENT SETNAME $c
2 CLIENT GETNAME
CLIENT SETINFO LIB-NAME test
CLIENT SETINFO nosuch x
CLIENT SETINFO LIB-VER
CLIENT NO-EVICT OFF
CLIENT NO-EVICT MAYBE
CLIENT NO-TOUCH OFF
CLIENT NOSUCH
CLIENT GETREDIR
CLIENT TRACKINGINFO
4 CLIENT TRACKING ON
CLIENT TRACKING ON NOLOOP
CLIENT TRACKING ON OPTIN
CLIENT CACHING YES
2 CLIENT TRACKING OFF
CLIENT TRACKING MAYBE
3 CLIENT REPLY SKIP
CLIENT REPLY ON
CLIENT REPLY MAYBE
CLIENT UNPAUSE
QUIT
""")

PUBSUB = _table("""
6 SUBSCRIBE $c
2 SUBSCRIBE $c $c
2 PSUBSCRIBE $p
SSUBSCRIBE $q
3 UNSUBSCRIBE $c
2 UNSUBSCRIBE
PUNSUBSCRIBE $p
PUNSUBSCRIBE
SUNSUBSCRIBE $q
SUNSUBSCRIBE
14 PUBLISH $c $v
3 SPUBLISH $q $v
PUBSUB NUMSUB $c $c
PUBSUB NUMPAT
PUBSUB SHARDNUMSUB $q
PUBSUB NOSUCH
SUBSCRIBE
""")

SCRIPTS = _table("""
3 EVAL return*redis.call('SET',KEYS[1],ARGV[1]) 1 @s $v
2 EVAL return*redis.call('GET',KEYS[1]) 1 @s
2 EVAL return*redis.call('LPUSH',KEYS[1],ARGV[1]) 1 @l $m
EVAL return*{1,'two',{3,4},nil,5} 0
EVAL return*{ok='FINE'} 0
EVAL return*redis.error_reply('MY*error') 0
EVAL return*redis.call('NOSUCH') 0
EVAL return*redis.pcall('INCR',KEYS[1]) 1 @l
EVAL redis.setresp(3);return*redis.call('HGETALL',KEYS[1]) 1 @h
EVAL return*3.99 0
EVAL this*is*no*script 0
EVAL return*ARGV[1] 0 $v
EVAL_RO return*redis.call('LLEN',KEYS[1]) 1 @l
EVAL_RO return*redis.call('SET',KEYS[1],1) 1 @s
EVAL for*i=1,3*do*redis.call('PUBLISH',ARGV[1],i)*end 0 $c
2 SCRIPT LOAD return*{KEYS[1],ARGV[1]}
2 EVALSHA bfbf458525d6a0b19200bfd6db3af481156b367b 1 @s $v
EVALSHA ffffffffffffffffffffffffffffffffffffffff 0
SCRIPT EXISTS bfbf458525d6a0b19200bfd6db3af481156b367b
SCRIPT FLUSH SYNC
FUNCTION LOAD REPLACE #!lua*name=lib^redis.register_function('f1',function(k,a)*return*redis.call('SET',k[1],a[1])*end)
2 FCALL f1 1 @s $v
FCALL nosuch 0
""")

BLOCKING = _table("""
4 BLPOP @l 0
2 BRPOP @l @l 0
BLMOVE @l @l LEFT RIGHT 0
BRPOPLPUSH @l @l 0
BLMPOP 0 2 @l @l LEFT COUNT 2
2 BZPOPMIN @z 0
BZPOPMAX @z @z 0
BZMPOP 0 1 @z MIN
2 XREAD BLOCK 0 STREAMS @x $
XREADGROUP GROUP grp c1 BLOCK 0 STREAMS @x >
""")

TIMED = _table("""
BLPOP absent 0.01
BZPOPMIN absent 0.01
XREAD BLOCK 10 STREAMS absent 0
""")

PRIVATE = _table("""
GET private
EXISTS private
PING
ECHO $v
""")

VALUES = (
    b"", b"v", b"0", b"17", b"-3", b"3.5", b"a b", b"\r\n", b"$3\r\nx\r\n", b"\0\xff\xfe", b"*1\r\n", b"+OK\r\n",
    b"-ERR x", b"caf\xc3\xa9", b"x" * 70, b"y" * 700,
)  # fmt: skip
LARGE = (b"L" * 66_000, b"\r\n" * 45_000, b"Z" * 300_000)
TYPES = "snlhtzxgbp"


class Words:
    """Commands at random.

    Args:
        large: values of more than 64 KiB are among those that are set.
    """

    def __init__(self, rng: random.Random, *, large: bool = False) -> None:
        self._rng = rng
        self._values = VALUES + (LARGE if large else ())
        self._ids = 0
        self._makers: dict[str, Callable[[], bytes]] = {
            "$v": lambda: rng.choice(self._values),
            "$m": lambda: rng.choice((b"a", b"b", b"c", b"m", b"paris", b"\0")),
            "$i": lambda: b"%d" % rng.randrange(-3, 6),
            "$o": lambda: b"%d" % rng.randrange(40),
            "$f": lambda: rng.choice((b"1", b"0.5", b"-2.25", b"1e3", b"inf", b"3")),
            "$d": self._new_id,
            "$e": lambda: b"%d-1" % rng.randrange(1, self._ids + 2),
            "$c": lambda: rng.choice((b"c0", b"c1", b"news")),
            "$p": lambda: rng.choice((b"c*", b"news", b"*")),
            "$q": lambda: rng.choice((b"q0", b"q1")),
            "@k": lambda: self._key(rng.choice(TYPES)),
            **{f"@{kind}": self._maker(kind) for kind in TYPES},
        }

    def one(self, table: Table) -> list[bytes]:
        """A request out of a table, word by word."""
        line = self._rng.choices(list(table), list(table.values()))[0]
        return [self._word(word) for word in line.split(" ")]

    def _word(self, word: str) -> bytes:
        start = word[0] if word[0] in "([" and word[1:2] == "$" else ""
        make = self._makers.get(word.removeprefix(start))
        if make is not None:
            return start.encode() + make()
        # The spaces and lines of scripts.
        return word.replace("*", " ").replace("^", "\n").encode() if "(" in word or "return" in word else word.encode()

    def _maker(self, kind: str) -> Callable[[], bytes]:
        return lambda: self._key(kind)

    def _key(self, kind: str) -> bytes:
        # Now and then one that holds something else.
        kind = self._rng.choice(TYPES) if self._rng.random() < 0.03 else kind
        return f"{kind}{self._rng.randrange(3 if kind in 'sn' else 2)}".encode()

    def _new_id(self) -> bytes:
        self._ids += 1
        return b"%d-1" % self._ids
