-- Revokes something until a time, or no longer (time 0).  What has ended is
-- forgotten with each change, and with the last entry the key.
--
-- --input   KEYS  revocations revoked
--           ARGV  name until now (unix times) max id (of a store without any)
-- --output  done | missing | full

local name, till = ARGV[1], tonumber(ARGV[2])

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])

if till == 0 then
    if redis.call('ZREM', KEYS[1], name) == 0 then
        return 'missing'
    end

elseif not redis.call('ZSCORE', KEYS[1], name)
       and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4])
then
    return 'full'

else
    redis.call('ZADD', KEYS[1], ARGV[2], name)
end

local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')

if last[2] then
    redis.call('EXPIREAT', KEYS[1], last[2])
end

local id, n = string.match(redis.call('GET', KEYS[2]) or '',
                           '^(%x+)%.(%d+)$')

redis.call('SET', KEYS[2], (id or ARGV[5]) .. '.'
                           .. string.format('%d', (n or 0) + 1))

return 'done'
