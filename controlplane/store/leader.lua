-- Takes or keeps the leadership.
--
-- --input   KEYS  leader fence
--           ARGV  node token ("": none yet) ttl (ms)
-- --output  token             this node leads
--           "" node:token     that one leads

local value = redis.call('GET', KEYS[1])

if value and ARGV[2] ~= '' and value == ARGV[1] .. ':' .. ARGV[2] then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {ARGV[2]}
end

if value then
    return {'', value}
end

-- A new token for each term: what was begun in an earlier one is refused.

local token = redis.call('INCR', KEYS[2])

redis.call('SET', KEYS[1], ARGV[1] .. ':' .. token, 'PX', ARGV[3])

return {tostring(token)}
