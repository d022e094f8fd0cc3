-- Fills a store that lost its data, or makes an empty one.
--
-- --input   KEYS  epoch revision revisions services instances names macs
--                 changes fence rules
--           ARGV  was       the epoch that the caller saw, "" for none
--                 revision  of what the caller has
--                 epoch     the new one
--                 fence     the highest fencing token that the caller knows
--                 then for each document: kind id revision text mac name
-- --output  ok | other     (somebody else was faster: look again)

local epoch = redis.call('GET', KEYS[1]) or ''

if epoch ~= ARGV[1] then
    return 'other'
end

if epoch ~= '' and tonumber(redis.call('GET', KEYS[2]) or 0)
                   >= tonumber(ARGV[2])
then
    return 'other'
end

redis.call('DEL', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8],
           KEYS[10])

local hashes = { service = KEYS[4], instance = KEYS[5], rule = KEYS[10] }

for i = 5, #ARGV, 6 do
    local kind, id = ARGV[i], ARGV[i + 1]

    redis.call('HSET', hashes[kind], id, ARGV[i + 3])
    redis.call('HSET', KEYS[3], kind .. '/' .. id, ARGV[i + 2])

    if ARGV[i + 4] ~= '' then
        redis.call('HSET', KEYS[7], id, ARGV[i + 4])
    end

    if ARGV[i + 5] ~= '' then
        redis.call('HSET', KEYS[6], ARGV[i + 5], id)
    end
end

if tonumber(redis.call('GET', KEYS[9]) or 0) < tonumber(ARGV[4]) then
    redis.call('SET', KEYS[9], ARGV[4])
end

redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[3])

return 'ok'
