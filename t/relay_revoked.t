#!/usr/bin/perl

# Tests for revocations: what is revoked in Redis ends with 4401 in every
# worker, old ones included, and is refused with 401; also when Redis is away,
# was emptied, or a worker begins without it.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket corral_metrics redis-server/);
my $agent = $t->agent(id => 'a', socket => 'a.sock');
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<"EOF")->plan(31);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "unix:$redis";

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version    1.1;
        proxy_set_header      Connection "";
        corral_service_from   query;
        corral_token_id       \$arg_jti;
        corral_ping_interval  0;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location /strict {
            corral_websocket         agents;
            corral_revocation_stale  refuse 3s;
            proxy_pass               http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }

        location = /metrics {
            corral_service  off;
            corral_metrics;
        }
    }
}

EOF

my ($id, $n) = ('0123456789abcdef', 0);

$store->epoch('first');
$store->commit($store->service('s'),
    $store->instance('s', 'a', $agent->address()));
$t->run();
$store->wait_acks(2, 1) // die "The gateway does not follow\n";

###############################################################################

# a token: its connections end, others go on

my %ws = map { $_ => open_ws("jti=$_") } qw/one two none/;
my $session = open_ws('jti=three&session_id=chat-1');

revoke('token:one', 3600);

is($ws{one}->close_code(), 4401, 'closed');
is($ws{one}->close_reason(), 'token revoked', 'with a reason');
is($ws{two}->ask('still'), 'still', 'another token');
ok(all_refuse('jti=one'), 'refused by all workers');
like(http_get('/?service=s&jti=one'), qr/^HTTP\/1.1 401 .*token_revoked/s,
    'and why');
is(status_of('jti=on') . status_of('jti=onee') . status_of(''), 200 x 3,
    'no other one is');
is(t_ws('jti=one'), 401, 'nor does a WebSocket come');

my $s = service();
is("$s->{closes_revoked}", 1, 'the close is counted');
cmp_ok($s->{revoked}, '>', 1, 'the refusals are, too');
like(http_get('/metrics'), qr/^corral_revocations 1$/m, 'known');
like(http_get('/metrics'), qr/^corral_revocations_age_seconds [0-3]$/m,
    'and fresh');

# a session

revoke('session:chat-1', 3600);
is($session->close_code(), 4401, 'a session');
ok(all_refuse('session_id=chat-1'), 'is refused');
is(status_of('jti=chat-1'), 200, 'as a session only');

# undone, and ended by itself

$store->command('ZREM', $store->key('revocations'), 'session:chat-1');
told();
ok(all_say(200, 'session_id=chat-1'), 'undone');

revoke('token:brief', 4);
ok(wait_for(sub { status_of('jti=brief') == 401 }, 4), 'for four seconds');
ok(wait_for(sub { status_of('jti=brief') == 200 }, 10), 'it ends');

# nonsense is passed over

$store->command('ZADD', $store->key('revocations'), time() + 99, $_)
    for 'token:', 'nobody:x', 'x', '', 'token:' . 'x' x 300, "token:a\0b";
revoke('token:behind', 3600);
ok(wait_for(sub { status_of('jti=behind') == 401 }, 10), 'nonsense');
is(status_of('jti=' . 'x' x 300), 200, 'what is too long is not revoked');

# many: more than a page, in which the last one counts as the first one does

$store->pipeline(map { [ 'ZADD', $store->key('revocations'), time() + 7200,
    "token:many-$_" ] } 1 .. 2500);
told();
ok(all_refuse('jti=many-2500'), 'many');
is(status_of('jti=many-1') . status_of('jti=one'), '401401', 'all of them');

# an old worker has it, too

my $old = open_ws('jti=old');
$t->reload();
ok(wait_for(sub { $t->workers(1) > 0 }, 5), 'an old worker stays');
$store->wait_acks(3, 1);
revoke('token:old', 3600);
is($old->close_code(), 4401, 'and closes');

# Redis is emptied: what is known stays, though it is told anew

$store->command('FLUSHALL');
$id = 'fedcba9876543210';
$n = 0;
$store->commit($store->service('s'),
    $store->instance('s', 'a', $agent->address()));
$store->epoch('second');
revoke('token:new', 3600);
ok(wait_for(sub { status_of('jti=new') == 401 }, 10), 'a new list');
ok(all_refuse('jti=one'), 'the old one is kept');

# Redis stands still: open ones go on, new ones by what is known or not at all

my ($pid) = $store->command('INFO', 'server') =~ /process_id:(\d+)/;
is(status_of('', '/strict'), 200, 'fresh enough');
kill 'KILL', $pid;
ok(all_say(503, '', '/strict'), 'not any more');
like(http_get('/strict?service=s'), qr/revocations_unknown/, 'and why');
is($ws{two}->ask('still'), 'still', 'what is open goes on');
is(status_of('') . status_of('jti=one'), '200401', 'elsewhere it is let in');

# and workers that begin now know what the zone knows

my @before = $t->workers();
$t->reload();
wait_for(sub { !grep { my $p = $_; grep { $_ == $p } @before } $t->workers() },
    5);
ok(all_refuse('jti=one'), 'workers that never saw Redis');

$_->close() for @ws{qw/two none/};

###############################################################################

sub revoke {
    my ($name, $seconds) = @_;
    $store->command('ZADD', $store->key('revocations'), time() + $seconds,
        $name);
    told();
}

sub told { $store->command('SET', $store->key('revoked'), "$id." . ++$n) }

sub open_ws {
    my ($query) = @_;
    my $ws = $t->websocket("/?service=s&$query", timeout => 10);
    die 'no handshake: ' . $ws->head() unless $ws->accepted();
    $ws->ask('!id');
    return $ws;
}

sub t_ws {
    my ($query) = @_;
    my $ws = $t->websocket("/?service=s&$query");
    return $ws->head() =~ m!^HTTP/1.1 (\d+)! ? $1 : 0;
}

sub status_of {
    my ($query, $path) = @_;
    return http_get(($path // '/') . "?service=s&$query")
        =~ m!^HTTP/1.1 (\d+)! ? $1 : 0;
}

# twenty in a row are of all workers, but for one in a million

sub all_refuse { all_say(401, @_) }

sub all_say {
    my ($status, @what) = @_;
    return wait_for(sub { !grep { status_of(@what) != $status } 1 .. 20 }, 15);
}

sub service {
    return (grep { $_->{name} eq 's' } @{ $t->status()->{services} })[0];
}

###############################################################################
