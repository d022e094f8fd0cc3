-- Takes or keeps the lease of a node.  The epoch comes from the fence, which
-- only grows: a corrald that was started later has a higher one.
--
-- --input   KEYS  node nodes fence
--           ARGV  name epoch ("": take a new one) ttl (ms), then field value...
-- --output  ok epoch | fenced epoch    (a later corrald has the lease)

local epoch = ARGV[2]
local held = redis.call('HGET', KEYS[1], 'epoch')

if epoch == '' then
    epoch = tostring(redis.call('INCR', KEYS[3]))

elseif held and tonumber(held) > tonumber(epoch) then
    return {'fenced', held}
end

redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'epoch', epoch,
           unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])

return {'ok', epoch}
