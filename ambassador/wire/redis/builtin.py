"""What is known of commands without asking: for a server that has not been asked yet, or will not tell.

Also for old servers, whose `COMMAND` says less: Redis 5 knows no categories, and none before 7 tells of sub-commands or
of how keys are found. Taken from what Redis 7.0 and Valkey 9.1 answer to `COMMAND`.

A line holds, between slashes: flags; categories that do not follow from the flags; where the keys are; names. `2` is
one key at that place (the name has place 0), `1:1` a run from there to so many places further, or with `1:-1` to the
last, with `1:-2` to the last but one; `1:-1:2` is every second of it. `2#1` is a run that follows its length, which
stands at place 2, and `1#2` every second of such, `length` times. `c` before them says channels, and `*` that `keys`
has a function for it.
"""

from __future__ import annotations

from typing import Final

LINES: Final = """
admin / - / - / ACL|DELUSER ACL|DRYRUN ACL|GETUSER ACL|LIST ACL|LOAD ACL|LOG ACL|SAVE ACL|SETUSER ACL|USERS BGREWRITEAOF
admin / - / - / BGSAVE CLUSTER|ADDSLOTS CLUSTER|ADDSLOTSRANGE CLUSTER|BUMPEPOCH CLUSTER|CANCELSLOTMIGRATIONS
admin / - / - / CLUSTER|COUNT-FAILURE-REPORTS CLUSTER|DELSLOTS CLUSTER|DELSLOTSRANGE CLUSTER|FAILOVER CLUSTER|FLUSHSLOTS
admin / - / - / CLUSTER|FORGET CLUSTER|GETSLOTMIGRATIONS CLUSTER|MEET CLUSTER|MIGRATESLOTS CLUSTER|REPLICAS
admin / - / - / CLUSTER|REPLICATE CLUSTER|RESET CLUSTER|SAVECONFIG CLUSTER|SET-CONFIG-EPOCH CLUSTER|SETSLOT
admin / - / - / CLUSTER|SLAVES CLUSTER|SYNCSLOTS COMMANDLOG|GET COMMANDLOG|LEN COMMANDLOG|RESET CONFIG|GET
admin / - / - / CONFIG|RESETSTAT CONFIG|REWRITE CONFIG|SET DEBUG FAILOVER LATENCY|DOCTOR LATENCY|GRAPH LATENCY|HISTOGRAM
admin / - / - / LATENCY|HISTORY LATENCY|LATEST LATENCY|RESET MODULE|LIST MODULE|LOAD MODULE|LOADEX MODULE|UNLOAD MONITOR
admin / - / - / PSYNC REPLCONF REPLICAOF SAVE SHUTDOWN SLAVEOF SLOWLOG|GET SLOWLOG|LEN SLOWLOG|RESET SYNC
admin / connection / - / CLIENT|KILL CLIENT|LIST CLIENT|NO-EVICT CLIENT|PAUSE CLIENT|UNBLOCK CLIENT|UNPAUSE
admin / hyperloglog / - / PFSELFTEST
blocking / connection / - / WAIT WAITAOF
fast / - / - / TIME
fast / admin dangerous / - / LASTSAVE ROLE
fast / connection / - / ASKING AUTH ECHO HELLO PING QUIT READONLY READWRITE RESET SELECT
fast / transaction / - / DISCARD MULTI UNWATCH
fast / transaction / 1:-1 / WATCH
- / scripting / 2#1 / EVAL EVALSHA FCALL
pubsub / - / - / PSUBSCRIBE PUBSUB|CHANNELS PUBSUB|NUMPAT PUBSUB|NUMSUB PUBSUB|SHARDCHANNELS PUBSUB|SHARDNUMSUB
pubsub / - / - / PUNSUBSCRIBE SUBSCRIBE UNSUBSCRIBE
pubsub / - / c1:-1 / SSUBSCRIBE SUNSUBSCRIBE
pubsub fast / - / - / PUBLISH
pubsub fast / - / c1 / SPUBLISH
readonly / - / 2 / MEMORY|USAGE
readonly / bitmap / 1 / BITCOUNT BITPOS
readonly / dangerous keyspace / - / KEYS
readonly / geo / 1 / GEODIST GEOHASH GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH
readonly / hash / 1 / HGETALL HKEYS HRANDFIELD HSCAN HVALS
readonly / hyperloglog / 1:-1 / PFCOUNT
readonly / keyspace / - / RANDOMKEY SCAN
readonly / keyspace / 1 / DUMP
readonly / keyspace / 2 / OBJECT|ENCODING OBJECT|FREQ OBJECT|IDLETIME OBJECT|REFCOUNT
readonly / keyspace / c1 / CLUSTERSCAN
readonly / list / 1 / LINDEX LPOS LRANGE
readonly / set / 1 / SMEMBERS SRANDMEMBER SSCAN
readonly / set / 1:-1 / SDIFF SINTER SUNION
readonly / sortedset / 1 / ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZSCAN
readonly / stream / 1 / XPENDING XRANGE XREVRANGE
readonly / stream / 2 / XINFO|CONSUMERS XINFO|GROUPS XINFO|STREAM
readonly / string / 1 / GETRANGE SUBSTR
readonly / string / 1:1 / LCS
readonly blocking / stream / * / XREAD
readonly fast / - / - / LOLWUT
readonly fast / bitmap / 1 / BITFIELD_RO GETBIT
readonly fast / hash / 1 / HEXISTS HEXPIRETIME HGET HLEN HMGET HPEXPIRETIME HPTTL HSTRLEN HTTL
readonly fast / keyspace / - / DBSIZE
readonly fast / keyspace / 1 / EXPIRETIME PEXPIRETIME PTTL TTL TYPE
readonly fast / keyspace / 1:-1 / EXISTS TOUCH
readonly fast / list / 1 / LLEN
readonly fast / set / 1 / SCARD SISMEMBER SMISMEMBER
readonly fast / sortedset / 1 / ZCARD ZCOUNT ZLEXCOUNT ZMSCORE ZRANK ZREVRANK ZSCORE
readonly fast / stream / 1 / XLEN
readonly fast / string / 1 / GET STRLEN
readonly fast / string / 1:-1 / MGET
readonly / dangerous list set sortedset / * / SORT_RO
readonly / scripting / 2#1 / EVALSHA_RO EVAL_RO FCALL_RO
readonly / set / 1#1 / SINTERCARD
readonly / sortedset / 1#1 / ZDIFF ZINTER ZINTERCARD ZUNION
write / bitmap / 1 / BITFIELD SETBIT
write / bitmap / 2,3:-1 / BITOP
write / dangerous keyspace / - / FLUSHALL FLUSHDB
write / dangerous keyspace / 1 / RESTORE
write / geo / 1 / GEOADD
write / geo / 1,2 / GEOSEARCHSTORE
write / hyperloglog / 1,2:-1 / PFMERGE
write / keyspace / 1,2 / COPY RENAME
write / keyspace / 1:-1 / DEL
write / list / 1 / LINSERT LREM LSET LTRIM
write / list / 1,2 / LMOVE RPOPLPUSH
write / scripting / - / FUNCTION|DELETE FUNCTION|FLUSH FUNCTION|LOAD FUNCTION|RESTORE
write / set / 1,2:-1 / SDIFFSTORE SINTERSTORE SUNIONSTORE
write / sortedset / 1 / ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE
write / sortedset / 1,2 / ZRANGESTORE
write / stream / 1 / XTRIM
write / stream / 2 / XGROUP|CREATE XGROUP|CREATECONSUMER XGROUP|DELCONSUMER XGROUP|DESTROY XGROUP|SETID
write / string / 1 / PSETEX SET SETEX SETRANGE
write / string / 1:-1:2 / MSET MSETNX
write admin / hyperloglog / 2 / PFDEBUG
write admin / keyspace / - / CLUSTER|FLUSHSLOT
write asking / dangerous keyspace / 1 / RESTORE-ASKING
write blocking / list / 1,2 / BLMOVE BRPOPLPUSH
write blocking / list / 1:-2 / BLPOP BRPOP
write blocking fast / sortedset / 1:-2 / BZPOPMAX BZPOPMIN
write blocking / list / 2#1 / BLMPOP
write blocking / sortedset / 2#1 / BZMPOP
write blocking / stream / * / XREADGROUP
write fast / dangerous keyspace / - / SWAPDB
write fast / hash / 1 / HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX HINCRBY HINCRBYFLOAT HMSET HPERSIST HPEXPIRE HPEXPIREAT
write fast / hash / 1 / HSET HSETEX HSETNX
write fast / hyperloglog / 1 / PFADD
write fast / keyspace / 1 / EXPIRE EXPIREAT MOVE PERSIST PEXPIRE PEXPIREAT
write fast / keyspace / 1,2 / RENAMENX
write fast / keyspace / 1:-1 / UNLINK
write fast / list / 1 / LPOP LPUSH LPUSHX RPOP RPUSH RPUSHX
write fast / set / 1 / SADD SPOP SREM
write fast / set / 1,2 / SMOVE
write fast / sortedset / 1 / ZADD ZINCRBY ZPOPMAX ZPOPMIN ZREM
write fast / stream / 1 / XACK XADD XAUTOCLAIM XCLAIM XDEL XSETID
write fast / string / 1 / APPEND DECR DECRBY DELIFEQ GETDEL GETEX GETSET INCR INCRBY INCRBYFLOAT SETNX
write / dangerous keyspace / * / MIGRATE
write / dangerous list set sortedset / * / SORT
write / geo / * / GEORADIUS GEORADIUSBYMEMBER
write / list / 1#1 / LMPOP
write / sortedset / 1#1 / ZMPOP
write / sortedset / 1,2#1 / ZDIFFSTORE ZINTERSTORE ZUNIONSTORE
write / string / 1#2 / MSETEX
- / - / - / ACL ACL|CAT ACL|GENPASS ACL|HELP ACL|WHOAMI CLIENT CLUSTER CLUSTER|COUNTKEYSINSLOT CLUSTER|GETKEYSINSLOT
- / - / - / CLUSTER|HELP CLUSTER|INFO CLUSTER|KEYSLOT CLUSTER|LINKS CLUSTER|MYID CLUSTER|MYSHARDID CLUSTER|NODES
- / - / - / CLUSTER|SHARDS CLUSTER|SLOT-STATS CLUSTER|SLOTS COMMANDLOG COMMANDLOG|HELP CONFIG CONFIG|HELP FUNCTION
- / - / - / LATENCY LATENCY|HELP MEMORY MEMORY|DOCTOR MEMORY|HELP MEMORY|MALLOC-STATS MEMORY|PURGE MEMORY|STATS MODULE
- / - / - / MODULE|HELP OBJECT PUBSUB PUBSUB|HELP SCRIPT SLOWLOG SLOWLOG|HELP XGROUP XINFO
- / connection / - / CLIENT|CACHING CLIENT|CAPA CLIENT|GETNAME CLIENT|GETREDIR CLIENT|HELP CLIENT|ID
- / connection / - / CLIENT|IMPORT-SOURCE CLIENT|INFO CLIENT|NO-TOUCH CLIENT|REPLY CLIENT|SETINFO CLIENT|SETNAME
- / connection / - / CLIENT|TRACKING CLIENT|TRACKINGINFO COMMAND COMMAND|COUNT COMMAND|DOCS COMMAND|GETKEYS
- / connection / - / COMMAND|GETKEYSANDFLAGS COMMAND|HELP COMMAND|INFO COMMAND|LIST
- / dangerous / - / INFO
- / keyspace / - / OBJECT|HELP
- / scripting / - / FUNCTION|DUMP FUNCTION|HELP FUNCTION|KILL FUNCTION|LIST FUNCTION|STATS SCRIPT|DEBUG SCRIPT|EXISTS
- / scripting / - / SCRIPT|FLUSH SCRIPT|HELP SCRIPT|KILL SCRIPT|LOAD SCRIPT|SHOW
- / stream / - / XGROUP|HELP XINFO|HELP
- / transaction / - / EXEC
"""
