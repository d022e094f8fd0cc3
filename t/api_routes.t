#!/usr/bin/perl

# Rules over REST: create, read, change, order, delete; validation that names
# what is wrong; revisions, pages, events; the dry run.

use warnings;
use strict;

use File::Path qw/remove_tree/;
use JSON::PP;
use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Daemon qw/wait_for alive/;
use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();
my $r;

sub problem { "$r->{status} " . ($r->{json}{code} // '') }
sub names { join ' ', map { $_->{name} } @{ $r->{json}{items} } }
sub pointers { join ' ', map { $_->{pointer} } @{ $r->{json}{errors} } }

$d->call('POST', '/api/v1/services', { name => $_, listen => 'tcp',
    tags => [ "tag-$_" ] }) for qw/a b c/;

my $events = $d->stream('/api/v1/events?types=rule');
$d->until($events, qr/\n\n|:/, 2);

###############################################################################

# create

my %rule = (name => 'gold customers', priority => 10,
    conditions => [
        { field => 'host', operator => 'equals', value => 'x.test' },
        { field => 'header.X-Tier', operator => 'in_list',
            values => [ 'gold', 'platinum' ] } ],
    target_services => [ 'a', 'b' ], weights => { a => 3 },
    fallback_service => 'c');

$r = $d->call('POST', '/api/v1/routes', \%rule);
is($r->{status}, 201, 'created');
is($r->{headers}{location}, "/api/v1/routes/$r->{json}{rule_id}", 'location');
is($r->{json}{enabled}, JSON::PP::true, 'a default');
is($r->{json}{conditions}[0]{case_sensitive}, JSON::PP::false,
    'also of a condition');
like($r->{json}{created_at}, qr/^20\d\d-.*Z$/, 'created_at');

my $id = $r->{json}{rule_id};
my $etag = $r->{headers}{etag};

like($d->until($events, qr/rule_created.*\n\n/s), qr/event: rule_created.*"gold cust/s,
    'an event');

$r = $d->call('POST', '/api/v1/routes', \%rule);
is(problem(), '409 NAME_TAKEN', 'a second rule of the same name');
like($r->{json}{detail}, qr/^the name "[^"]+" is taken: the rule \S+ has it$/,
    'which name, and by whom');
is($d->call('GET', '/api/v1/routes')->{json}{total}, 1, 'is not made');

$r = $d->call('POST', '/api/v1/routes', { name => 'a' });
is($r->{status}, 201, 'the name of a service is free for a rule');
is($d->call('GET', '/api/v1/services/a')->{json}{name}, 'a',
    'and does not hide it');

# validation: the place, the value and what is allowed

for my $case (
    [ { operator => 'equals' }, '/conditions/0', qr/needs a "field"/ ],
    [ { field => 'path' }, '/conditions/0',
        qr/needs a "operator": equals not_equals/ ],
    [ { field => 'path', operator => 'is' }, '/conditions/0/operator',
        qr/is "is", it can be: equals/ ],
    [ { field => 'paht', operator => 'exists' }, '/conditions',
        qr/condition 1 on "paht": there is no such field; it can be: path/ ],
    [ { field => 'path', operator => 'equals', vale => 'x' },
        '/conditions/0/vale', qr/is "value" meant/ ],
    [ { field => 'path', operator => 'equals', value => 5 },
        '/conditions/0/value', qr/must be a string/ ],
    [ { field => 'path', operator => 'regex_match', value => '(' },
        '/conditions', qr/the pattern "\(" is wrong at byte 1: missing/ ],
    [ { field => 'client_ip', operator => 'ip_in_range', value => '1.2.3' },
        '/conditions', qr/"1\.2\.3" is not a range/ ],
    [ { field => 'header.n', operator => 'less_than', value => 'x' },
        '/conditions', qr/"x", it must be a number/ ],
) {
    $r = $d->call('POST', '/api/v1/routes', { name => 'bad',
        conditions => [ $case->[0] ] });
    is(problem() . ' ' . pointers(), "422 VALIDATION_FAILED $case->[1]",
        "refused: $case->[2]");
    like($r->{json}{errors}[0]{detail}, $case->[2], 'its reason');
}

for my $case (
    [ target_services => [ 'a', 'x' ], '/target_services/1' ],
    [ fallback_service => 'x', '/fallback_service' ],
    [ weights => { x => 1 }, '/weights' ],
    [ weights => { a => -1 }, '/weights/a' ],
    [ priority => 'high', '/priority' ],
    [ target_strategy => 'best', '/target_strategy' ],
    [ hash_key => 'x', '/hash_key' ],
    [ hash_key => 'subject x', '/hash_key' ],
    [ force_by => 'client_ip', '/force_by' ],
    [ force_by => 'header.a ', '/force_by' ],
    [ nmae => 'x', '/nmae' ],
    [ name => "a\nb", '' ],
) {
    $r = $d->call('POST', '/api/v1/routes', { name => 'bad',
        target_services => [ 'a' ], $case->[0] => $case->[1] });
    is(problem() . ' ' . pointers(), "422 VALIDATION_FAILED $case->[2]",
        "refused: $case->[0]");
}

$r = $d->call('POST', '/api/v1/routes?dry_run=1', { name => 'dry' });
is($r->{status}, 200, 'dry run of a creation');
is($d->call('GET', '/api/v1/routes')->{json}{total}, 2,
    'nothing of all that was made');

# read

is($d->call('GET', "/api/v1/routes/$_")->{json}{rule_id}, $id, "by $_")
    for $id, 'gold%20customers';

$r = $d->call('GET', '/api/v1/routes/nobody');
is(problem(), '404 RULE_NOT_FOUND', 'no such rule');
is($d->call('GET', "/api/v1/routes/$id", undef,
    'If-None-Match' => $etag)->{status}, 304, 'not modified');

# change

$r = $d->call('PATCH', "/api/v1/routes/$id", { priority => 5,
    fallback_service => undef }, 'If-Match' => $etag);
is($r->{status}, 200, 'patched');
is("$r->{json}{priority}$r->{json}{fallback_service}", 5, 'as asked');
is(scalar @{ $r->{json}{conditions} }, 2, 'the rest stays');

like($d->until($events, qr/rule_updated.*\n\n/s), qr/rule_updated.*"changed":\[[^]]*priority/s,
    'an event');

$r = $d->call('PATCH', "/api/v1/routes/$id", { priority => 6 },
    'If-Match' => $etag);
is(problem(), '412 PRECONDITION_FAILED', 'an old revision');

$r = $d->call('POST', "/api/v1/routes/$id/actions/disable");
is($r->{json}{enabled}, JSON::PP::false, 'disabled');
$r = $d->call('POST', "/api/v1/routes/$id/actions/enable");
is($r->{json}{enabled}, JSON::PP::true, 'enabled');
$r = $d->call('POST', "/api/v1/routes/$id/actions/burn");
is(problem(), '404 NOT_FOUND', 'no such action');

$r = $d->call('PUT', "/api/v1/routes/$id", { name => 'gold',
    target_tags => [ 'tag-b' ] });
is($r->{status}, 200, 'replaced');
is(scalar @{ $r->{json}{conditions} }, 0, 'what is not given is the default');
is($r->{json}{rule_id}, $id, 'its id stays');
$r = $d->call('PUT', '/api/v1/routes/gold', $r->{json});
is($r->{status}, 200, 'what was read may come back');
$r = $d->call('PUT', '/api/v1/routes/new', { target_services => [ 'a' ] });
is("$r->{status} $r->{json}{name}", '201 new', 'put creates');
$r = $d->call('PUT', '/api/v1/routes/gold', {}, 'If-None-Match' => '*');
is(problem(), '412 PRECONDITION_FAILED', 'only creates');

# order: by priority, then by name

$r = $d->call('GET', '/api/v1/routes');
is(names(), 'a gold new', 'the order in which they are asked');
$r = $d->call('POST', '/api/v1/routes/actions/reorder',
    { order => [ 'new', $id, 'a' ], step => 5 });
is(names(), 'new gold a', 'reordered');
is(join(' ', map { $_->{priority} } @{ $r->{json}{items} }), '10 15 20',
    'their priorities');
$r = $d->call('GET', '/api/v1/routes?limit=2');
is(names(), 'new gold', 'a page');
$r = $d->call('GET', "/api/v1/routes?limit=2&cursor=$r->{json}{next_cursor}");
is(names(), 'a', 'the next page');
$r = $d->call('GET', '/api/v1/routes?sort=-name&service=a');
is(names(), 'new', 'filtered by target');
$r = $d->call('POST', '/api/v1/routes/actions/reorder',
    { order => [ 'new', 'gold', 'new' ] });
is(problem(), '422 VALIDATION_FAILED', 'twice the same');
$r = $d->call('POST', '/api/v1/routes/actions/reorder',
    { order => [ 'a', 'none' ] });
is(problem(), '404 RULE_NOT_FOUND', 'an unknown one');
$r = $d->call('GET', '/api/v1/routes');
is(names(), 'new gold a', 'nothing has changed');

# the dry run

$d->call('DELETE', '/api/v1/routes/new');
$d->call('PUT', '/api/v1/routes/gold', { %rule, name => 'gold' });
$d->call('PUT', '/api/v1/routes/off', { enabled => JSON::PP::false,
    priority => 1 });
$d->call('PUT', '/api/v1/routes/late', { priority => 1000 });
$d->call('PUT', '/api/v1/routes/tagged', { priority => 3,
    target_tags => [ 'nobody' ] });

$r = $d->call('POST', '/api/v1/routes/actions/test', { method => 'GET',
    path => '/', host => 'X.test', headers => { 'x-tier' => 'Gold' } });
is($r->{status}, 200, 'dry run');
is($r->{json}{matched}{name}, 'gold', 'the rule');
is_deeply([ map { [ @$_{qw/name ready weight/} ] }
    @{ $r->{json}{candidates} } ], [ [ 'a', 0, 3 ], [ 'b', 0, 1 ] ],
    'its candidates');
is($r->{json}{fallback}{name}, 'c', 'its fallback');
is(join(' ', map { "$_->{name}:$_->{result}" } @{ $r->{json}{trace} }),
    'off:disabled tagged:no_target gold:matched a:later late:later',
    'what became of each rule');

$r = $d->call('POST', '/api/v1/routes/actions/test', { path => '/',
    host => 'x.test', headers => { 'X-Tier' => [ 'a', 'b' ] } });
is($r->{json}{matched}{name}, 'a', 'another request');
is_deeply($r->{json}{trace}[2]{failed}, { condition => 2,
    field => 'header.X-Tier', operator => 'in_list',
    expected => [ 'gold', 'platinum' ], actual => [ 'a', 'b' ] },
    'the first condition that failed, with both values');

$r = $d->call('POST', '/api/v1/routes/actions/test', { hots => 'x',
    headers => { a => 1 } });
is(problem(), '422 VALIDATION_FAILED', 'a request that is none');
is(join(' ', sort split / /, pointers()), '/headers/a /hots', 'its places');

# force_by, and what was compiled for the last one is not asked for this one

$d->call('POST', '/api/v1/services/a/instances', { instance_id => 'fa',
    address => '127.0.0.1:1', ttl => '1h', health => 'healthy' });
$d->call('PATCH', '/api/v1/services/a', { desired => 'running' });
$d->call('PATCH', '/api/v1/routes/gold', { conditions => [],
    force_by => 'header.x-chat query.to' });

sub forced {
    $r = $d->call('POST', '/api/v1/routes/actions/test', { path => '/', @_ });
    return $r->{json}{matched}{name} . ' '
        . ($r->{json}{forced} ? $r->{json}{forced}{name} : '-');
}

is(forced(), 'gold -', 'nothing is forced, and the rule has no condition now');
is(forced(headers => { 'X-Chat' => 'a' }), 'gold a', 'by a header');
is(forced(query => { to => [ 'a', 'b' ] }), 'gold a', 'by an argument');
is(forced(headers => { 'X-Chat' => '' }, query => { to => 'a' }), 'gold a',
    'an empty header is none');
is(forced(headers => { 'X-Chat' => 'b' }, query => { to => 'a' }), 'gold -',
    'the first that it has decides; b is not ready');
is(forced(headers => { 'X-Chat' => 'c' }), 'gold -', 'c is no target');
$d->call('PATCH', '/api/v1/routes/gold', { force_by => 'cookie.to' });
is(forced(query => { to => 'a' }, cookies => { to => 'a' }), 'gold a',
    'a changed rule');
is(forced(query => { to => 'a' }), 'gold -', 'not the rule of before');
$d->call('DELETE', '/api/v1/instances/fa');

# deletion of a target does not touch the rule; it can still be changed

$d->call('DELETE', '/api/v1/services/a');
$r = $d->call('GET', '/api/v1/routes/gold');
is_deeply($r->{json}{target_services}, [ 'a', 'b' ], 'a target was deleted');
$r = $d->call('PATCH', '/api/v1/routes/gold', { priority => 9 });
is($r->{status}, 200, 'other fields may change');
$r = $d->call('PATCH', '/api/v1/routes/gold', { target_services => [ 'a', 'x',
    'b' ] });
is(problem() . ' ' . pointers(), '422 VALIDATION_FAILED /target_services/1',
    'only a new one must exist');

# rules are on disk, and in a store that lost them

my $redis = $d->redis('corrald');
my $loads = $redis->command('GET', $redis->key('epoch'));
$redis->command('DEL', map { $redis->key($_) }
    qw/epoch rules services names revisions revision/);
$d->call('PATCH', '/api/v1/routes/gold', { priority => 8 });
ok(wait_for(sub {
    $redis->command('HLEN', $redis->key('rules')) == 5
        && ($redis->command('GET', $redis->key('epoch')) // $loads) ne $loads
}, 10), 'rules are restored');
ok(wait_for(sub {
    $d->call('GET', '/readyz')->{status} == 200
}, 10), 'and corrald is ready');
is($d->call('GET', '/api/v1/routes/gold')->{json}{priority}, 9, 'as they were');
$r = $d->call('POST', '/api/v1/routes', { name => 'gold' });
is(problem(), '409 NAME_TAKEN', 'with their names');

# delete

$r = $d->call('DELETE', '/api/v1/routes/gold');
is($r->{status}, 200, 'deleted');
like($d->until($events, qr/rule_deleted.*\n\n/s), qr/rule_deleted/,
    'an event');
$r = $d->call('DELETE', '/api/v1/routes/gold');
is(problem(), '404 RULE_NOT_FOUND', 'once');
is($d->call('POST', '/api/v1/routes', { name => 'gold' })->{status}, 201,
    'its name is free');

# all but the journal is lost

$d->kill('KILL');
my $pid = $d->redis_pid();
kill 'KILL', $pid;
ok(wait_for(sub { !alive($pid) }), 'Redis and corrald are gone');
remove_tree($d->dir() . '/s/redis/appendonlydir');
$d->start();
$r = $d->call('GET', '/api/v1/routes');
is(names(), 'off tagged a gold late', 'rules are restored from the journal');
is($r->{json}{items}[0]{enabled}, JSON::PP::false, 'as they were');
$r = $d->call('POST', '/api/v1/routes', { name => 'gold' });
is(problem(), '409 NAME_TAKEN', 'with their names');

$d->finish();
done_testing();
