-- Gives leases back at the end of corrald, if they are still its own.
--
-- --input   KEYS  node leader
--           ARGV  node_epoch leader_value ("": not the leader)
-- --output  number of leases given back

local n = 0

if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
    n = n + redis.call('DEL', KEYS[1])
end

if ARGV[2] ~= '' and redis.call('GET', KEYS[2]) == ARGV[2] then
    n = n + redis.call('DEL', KEYS[2])
end

return n
