#!/usr/bin/perl

# Tests for corral_token_renew: a client renews its token in the open WebSocket,
# by a message that no agent sees, and is answered between two messages of the
# agent.  Whatever goes wrong changes nothing.

###############################################################################

use warnings;
use strict;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw/sleep time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket redis-server/);
my $agent = $t->agent(id => 'a', socket => 'a.sock');
my %moves = map { $_ => $t->agent(id => $_, socket => "$_.sock") } qw/b c/;
my $rpc = $t->agent(id => 'r', socket => 'r.sock', rpc => 1);
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<'EOC' =~ s/REDIS/$redis/r)->plan(97);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "unix:REDIS";

    upstream agents {
        corral;
    }

    # Bearer SUBJECT.EXPIRES.ID

    map $http_authorization $sub { "~^Bearer ([a-z]+)\."           $1; }
    map $http_authorization $exp { "~^Bearer [a-z]+\.([^.]*)\."    $1; }
    map $http_authorization $jti { "~^Bearer [a-z]+\.[^.]*\.(.*)$" $1; }

    limit_conn_zone  $server_port  zone=conns:1m;

    server {
        listen  127.0.0.1:8080;

        corral_service_from   query;
        corral_websocket      agents;
        corral_ping_interval  0;
        corral_tenant         $arg_tenant;
        corral_subject        $arg_sub;
        corral_expires        $arg_exp;
        corral_token_id       $arg_jti;

        location / {
            corral_token_renew  /renew;
        }

        location /off {
        }

        location /kept {
            limit_conn          conns 100;
            corral_token_renew  /renew;
        }

        location /slow {
            corral_token_renew  /verify;
        }

        location /access {
            corral_token_renew  /access/verify;
        }

        location /rate {
            corral_message_rate 1 burst=3;
            corral_token_renew  /renew;
        }

        location /delayed {
            corral_message_rate 5 burst=1 delay;
            corral_token_renew  /renew;
        }

        location /small {
            corral_max_message_size  60;
            corral_token_renew       /renew;
        }

        location /broken {
            corral_token_renew  /nowhere;
        }

        # as a JWT module would say it

        location = /renew {
            internal;
            corral_service    off;
            corral_tenant     "";
            corral_subject    $sub;
            corral_expires    $exp;
            corral_token_id   $jti;

            if ($sub = "") {
                return  401;
            }

            if ($sub = dead) {
                return  502;
            }

            return  200 "a body that goes nowhere";
        }

        # a service that verifies

        location = /verify {
            internal;
            corral_service    off;
            corral_subject    $upstream_http_x_subject;
            corral_expires    $upstream_http_x_expires;
            corral_token_id   $upstream_http_x_id;
            corral_claim      uri $request_uri;     # read when all is over
            proxy_set_header  X-Was "$corral_subject $remote_addr $request_uri";
            proxy_pass        http://127.0.0.1:8090;
        }

        # the access phase counts

        location = /access/verify {
            internal;
            corral_service    off;
            auth_request      /inner;
            auth_request_set  $inner_subject $upstream_http_x_subject;
            corral_subject    $inner_subject;
            corral_expires    $exp;
            corral_token_id   $jti;
            lingering_close   always;
            proxy_pass        http://127.0.0.1:8091/;
        }

        location = /inner {
            internal;
            corral_service  off;
            proxy_pass      http://127.0.0.1:8090/inner;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }

        location = /stub {
            corral_service  off;
            stub_status;
        }
    }

    server {
        listen  127.0.0.1:8091;
        return  200 "good";
    }
}

EOC

$t->run_daemon(\&verifier, port(8090), $t->testdir());

$store->epoch('first');
$store->commit($store->service('s'), $store->service('moves',
        failover => 'reattach', max_fails => 0, hold_size => 1024),
    $store->service('replays', failover => 'replay', answer => 'jsonrpc',
        max_fails => 0),
    $store->instance('s', 'a', $agent->address()),
    $store->instance('moves', 'm.b', $moves{b}->address()),
    $store->instance('moves', 'm.c', $moves{c}->address()),
    $store->instance('replays', 'r.r', $rpc->address()));
$t->run();
$t->waitforsocket('127.0.0.1:' . port(8090));
$store->wait_acks(1, 1) // die "The gateway does not follow\n";

###############################################################################

my $begin = int time();
my $far = $begin + 3600;

# one that renews, and one that does not

my $ws = open_ws('/', 'sub=ann&exp=' . ($begin - 22) . '&jti=one');
my $ends = open_ws('/', 'sub=ann&exp=' . ($begin - 22) . '&jti=other');

is($ws->ask(renew("ann.$far.two")), renewed($far), 'renewed');
is($ws->ask('hello'), 'hello', 'the stream goes on');
is($agent->stats()->{messages}, 3, 'no agent has seen it');
ok(wait_for(sub { grep { ($_->{expires_at} // '') eq rfc3339($far) }
    $store->connections() }, 10), 'the list has its new end');
is(service()->{renewals}, 1, 'counted');
is(service()->{messages_in}, 3, 'it is no message');

# the old token does not count any more, the new one does

revoke('token:one');
ok(wait_for(sub { status_of('/?sub=x&jti=one') == 401 }, 10), 'the old token');
is($ws->ask('still'), 'still', 'is not the one of this connection');

# what is wrong

for (["eve.$far.x", 'subject_differs', 'somebody else'],
    ['ann.' . ($begin - 40) . '.x', 'expired', 'one that has expired'],
    ['ann..x', 'bad_answer', 'one without an end'],
    ['ann.soon.x', 'bad_answer', 'one whose end is no time'],
    ["ann.$far." . 'x' x 201, 'bad_answer', 'one whose id is too long'],
    ['nonsense', 'refused', 'no token at all'],
    ["dead.$far.x", 'unavailable', 'nobody there to verify it'],
    ["ann.$far.one", 'revoked', 'one that was revoked'])
{
    my ($token, $why, $what) = @$_;
    my $w = open_ws('/', "sub=ann&exp=$far&jti=three");
    is($w->ask(renew($token)), failed($why), $what);
    is($w->ask('still'), 'still', 'nothing has changed');
    $w->close();
}

my $w = open_ws('/', "exp=$far");
is($w->ask(renew("ann.$far.x")), failed('subject_differs'),
    'nobody is not renewed');
ok($t->wait_for_log(qr/corral_token_renew needs corral_subject/), 'and why');
$w->close();

$w = open_ws('/', "sub=ann&tenant=acme&exp=$far");
is($w->ask(renew("ann.$far.x")), failed('subject_differs'),
    'another tenant is somebody else');
$w->close();

$w = open_ws('/broken', "sub=ann&exp=$far");
is($w->ask(renew("ann.$far.x")), failed('refused'), 'no such location');
is($w->ask(renew("ann.$far.x")), failed('too_soon'), 'not twice in a second');
$w->close();

# what was known of the first token says nothing of another one

$w = open_ws('/', "sub=ann&exp=$far", 0, "Authorization: Bearer ann.$far.x");
is($w->ask(renew('nonsense')), failed('refused'), 'the token of the handshake');
$w->close();

# what is like it, but is not it, is a message as any other

$w = open_ws('/', "sub=ann&exp=$far");

for ('{"type":"corral.renew"}', '{"token":"x","type":"corral.renew"}',
    '{"type":"corral.renew","token":""}',
    '{"type":"corral.renew","token":"a b"}',
    '{"type":"corral.renew","token":"a\\u0041"}',
    '{"type":"corral.renew","token":"abc"',
    '{"type":"corral.renew","token":"abc"}}',
    '{"type":"corral.renew","token":"abc","x":1}',
    ' {"type":"corral.renew","token":"abc"}',
    '{"type":"corral.renewal","token":"abc"}',
    '{"type":  "corral.renew","token":"abc"}',
    '{"type":"corral.renew","token":"' . 'x' x 8193 . '"}', '{', '{"type":"c')
{
    is($w->ask($_), $_, 'passes: ' . substr $_, 0, 44);
}

$w->send_frame(BINARY, renew('x'));
is($w->read_message(), renew('x'), 'passes: a binary one');
$w->send_raw($w->frame(TEXT, '{"type":"corral.re', fin => 0)
    . $w->frame(CONT, 'new","token":"x"}'));
is($w->read_message(), renew('x'), 'passes: one in two frames');
is($w->ask('{"type": "corral.renew", "token": "ann.' . $far . '.x"}'),
    renewed($far), 'blanks as JSON writers put them');
$w->close();

# frames cut anywhere, and beside others

$w = open_ws('/', "sub=ann&exp=$far");
$w->send_slow($w->frame(TEXT, 'before') . $w->frame(TEXT,
    renew("ann.$far.x")) . $w->frame(TEXT, 'after'));
is(join(' ', sort map { $w->read_message() // 'none' } 1 .. 3),
    join(' ', sort 'before', renewed($far), 'after'), 'byte by byte');
$w->close();

$w = open_ws('/', "sub=ann&exp=$far");
$w->send_raw(join '', map { $w->frame(TEXT, $_) } 'one', 'x' x 300,
    renew("ann.$far." . 'x' x 150), 'two', 'y' x 70000, 'three');
is(join(' ', sort map { length($_ // '') } map { $w->read_message() } 1 .. 6),
    join(' ', sort 3, 300, length renewed($far), 3, 70000, 5), 'among others');
$w->close();

$w = open_ws('/slow', "sub=ann&exp=$far");
my $long = "ann.$far.long." . 'x' x (8192 - length "ann.$far.long.");
is($w->ask(renew($long)), renewed($far), 'a token of 8192 bytes');
$w->close();

# the service that verifies is asked as if by this client

like($t->read_file('verifier'), qr{^GET /verify HTTP/1\.}m, 'its request');
like($t->read_file('verifier'),
    qr{^x-was: ann 127\.0\.0\.1 /slow\?\S+\r$}mi, 'of this client');

# while it thinks, everything goes on; a second one is too soon

$w = open_ws('/slow', "sub=ann&exp=$far");
$w->send_text(renew("ann.$far.hold"));
my $since = time();
is($w->numbered(50), '', 'traffic goes on meanwhile');
sleep 0.1 while time() < $since + 1.2;      # it is not for the second alone
is($w->ask(renew("ann.$far.x")), failed('too_soon'), 'one at a time');
$t->write_file('go', '');
is($w->read_message(), renewed($far), 'then it is answered');
unlink $t->testdir() . '/go';

# the answer is never within a message of the agent

$agent->push_raw(frame_of(TEXT, 'half', fin => 0));
is($w->read_frame()->{payload}, 'half', 'a message has begun');
my $done = service()->{renewals};
ok(wait_for(sub {
    $w->send_text(renew("ann.$far.y"));
    sleep 0.3;
    service()->{renewals} > $done;
}, 5), 'renewed meanwhile');
$agent->push_raw(frame_of(PING, 'p'));
is($w->read_frame()->{opcode}, PING, 'a ping may come within it');
$agent->push_raw(frame_of(CONT, 'more', fin => 0));
is($w->read_frame()->{payload}, 'more', 'no text of ours');
$agent->push_raw(frame_of(CONT, 'end') . frame_of(TEXT, 'next'));
is($w->read_frame()->{payload}, 'end', 'its end');
is($w->read_frame()->{payload}, renewed($far), 'the answer');
is($w->read_frame()->{payload}, 'next', 'then the next one');
is($w->ask('hello'), 'hello', 'and so on');
$w->close();
is($ws->read_message() . $ws->read_message(), 'halfmoreendnext',
    'others have got the message alone');

# elsewhere

$w = open_ws('/off', "sub=ann&exp=$far");
is($w->ask(renew("ann.$far.x")), renew("ann.$far.x"), 'not where it is off');
$w->close();

$w = open_ws('/kept', "sub=ann&exp=$far");
is($w->ask(renew("ann.$far.x")), renewed($far), 'with a request that is kept');
$w->close();

$w = open_ws('/access', "sub=ann&exp=$far");
is($w->ask(renew("ann.$far.x")), renewed($far), 'behind auth_request');
$w->close();

$w = open_ws('/access', "sub=ann&exp=$far");
is($w->ask(renew("bad.$far.x")), failed('refused'), 'which refuses, too');
$w->close();

# limits

$w = open_ws('/rate', "sub=ann&exp=$far");
$w->send_text(renew('x')) for 1 .. 4;
is($w->close_code(), 1008, 'it counts for message_rate');

$w = open_ws('/delayed', "sub=ann&exp=$far");
$w->send_raw(join '', map { $w->frame(TEXT, $_) } 'one', 'two',
    renew("ann.$far.x"), 'three', 'four');
my @got = map { $w->read_message() // 'none' } 1 .. 5;
is(join(' ', grep { !/renew/ } @got), 'one two three four', 'delayed in order');
is((grep { /renew/ } @got)[0], renewed($far), 'and renewed');
$w->close();

$w = open_ws('/small', "sub=ann&exp=$far");
$w->send_text(renew('x' x 60));
is($w->close_code(), 1009, 'and for the largest message');

# who asks without end and reads nothing is not answered without end

$w = open_ws('/', "sub=ann&exp=$far");
my $many = 200_000;
$w->send_raw($w->frame(TEXT, renew('nonsense')) x $many, 60);
$w->send_text('end');
my $answers = 0;
my $end;
while (defined($end = $w->read_message()) && $end ne 'end') { $answers++ }
is($end, 'end', 'all was read');
cmp_ok($answers, '>', 0, 'answers');
cmp_ok($answers, '<', $many, 'but not to all');
$w->close();

# where messages pass whole, and to another instance

$w = open_ws('/', "service=moves&sub=ann&exp=$far");
my $first = $w->ask('!id');
is($w->ask(renew("ann.$far.x")), renewed($far), 'with failover');
$moves{$first}->drop('reset');
isnt($w->ask('!id'), $first, 'moved');
is($w->ask('hello'), 'hello', 'it goes on');
revoke('token:x');
is($w->close_code(), 4401, 'the new token goes with it');

# it is moved while one is under way

$w = open_ws('/slow', "service=moves&sub=ann&exp=$far");
$first = $w->ask('!id');
$w->send_text(renew("ann.$far.hold"));
is($w->ask('x'), 'x', 'under way');
$moves{$first}->drop('reset');
isnt($w->ask('!id'), $first, 'moved meanwhile');
$t->write_file('go', '');
is($w->read_message(), renewed($far), 'renewed all the same');
unlink $t->testdir() . '/go';
$w->close();

$w = open_ws('/', "service=replays&sub=ann&exp=$far", 1);
is($w->ask('{"id":1,"method":"echo","params":"p","jsonrpc":"2.0"}')
    =~ /"result":"p"/ ? 1 : 0, 1, 'with replay');
is($w->ask(renew("ann.$far.z")), renewed($far), 'renewed');
is($rpc->stats()->{messages}, 1, 'not replayed, not seen');
$w->close();

# the end

is($ends->close_code(), 4401, 'the one that was not renewed');
is($ends->close_reason(), 'token expired', 'with its reason');
cmp_ok(time(), '>', $begin + 8, 'in its time');
is($ws->ask('still'), 'still', 'the renewed one is open');

# who is not there any more

ok(wait_for(sub { active() == 2 }, 5), 'one is open, and who asks');
$w = open_ws('/slow', "sub=ann&exp=$far");
$w->send_text(renew("ann.$far.hold"));
ok(wait_for(sub { active() == 4 }, 5), 'under way');
$w->disconnect();
ok(wait_for(sub { active() == 2 }, 5), 'the client leaves: given up');

# nginx is reloaded while one is under way

$w = open_ws('/slow', "sub=ann&exp=$far");
$w->send_text(renew("ann.$far.hold"));
is($w->ask('x'), 'x', 'under way');
$t->reload();
$t->write_file('go', '');
is($w->read_message(), renewed($far), 'a reload does not end it');
unlink $t->testdir() . '/go';

# the new token is revoked

revoke('token:two');
is($ws->close_code(), 4401, 'the new token is revoked');

# workers are stopped while one is under way

$w->close();
$w = open_ws('/slow', "sub=ann&exp=$far");
$w->send_text(renew("ann.$far.hold"));
is($w->ask('x'), 'x', 'another one');
kill 'TERM', $t->workers();
is($w->close_code(), 1012, 'given up');
$t->write_file('go', '');

###############################################################################

my $n;

sub renew { '{"type":"corral.renew","token":"' . $_[0] . '"}' }
sub renewed { '{"type":"corral.renewed","expires_at":' . $_[0] . '}' }
sub failed { '{"type":"corral.renew_failed","reason":"' . $_[0] . '"}' }

sub rfc3339 {
    my @t = gmtime $_[0];
    return sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1,
        @t[3, 2, 1, 0];
}

sub revoke {
    my ($name) = @_;
    $store->command('ZADD', $store->key('revocations'), int(time()) + 3600,
        $name);
    $store->command('SET', $store->key('revoked'),
        '0123456789abcdef.' . ++$n);
}

sub open_ws {
    my ($path, $query, $silent, @headers) = @_;
    $query = "service=s&$query" unless $query =~ /service=/;
    my $ws = $t->websocket("$path?$query", timeout => 20,
        headers => \@headers);
    die 'no handshake: ' . $ws->head() unless $ws->accepted();
    $ws->ask('!id') unless $silent;
    return $ws;
}

sub frame_of { Test::Corral::WebSocket::build_frame(@_) }

sub status_of { http_get("$_[0]&service=s") =~ m!^HTTP/1.1 (\d+)! ? $1 : 0 }

# connections of clients; a token that is being verified counts as one

sub active { http_get('/stub') =~ /Active connections: (\d+)/ ? $1 : -1 }

sub service {
    return (grep { $_->{name} eq 's' } @{ $t->status()->{services} })[0];
}

# verifies tokens of the form above; those with the id "hold" when "go" is there

sub verifier {
    my (undef, $port, $dir) = @_;

    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 16, ReuseAddr => 1) or die "No port: $!";

    $SIG{CHLD} = 'IGNORE';
    $SIG{PIPE} = 'IGNORE';

    while (my $client = $server->accept()) {
        next if fork();
        close $server;

        my $head = '';

        while ($head !~ /\r\n\r\n/) {
            sysread $client, $head, 16384, length $head or exit 0;
        }

        open my $fh, '>>', "$dir/verifier";
        print $fh $head;
        close $fh;

        my ($sub, $exp, $id) = $head
            =~ /^authorization: Bearer ([a-z]+)\.([^.]*)\.(\S*)/mi;

        for (1 .. 1000) {
            last if $id ne 'hold' || -e "$dir/go";
            sleep 0.01;
        }

        $id = 'long' if $id =~ /^long/;

        print $client $sub eq 'bad' ? "HTTP/1.1 403 No\r\n"
            : "HTTP/1.1 200 OK\r\nX-Subject: $sub\r\nX-Expires: $exp\r\n"
            . "X-Id: $id\r\n", "Content-Length: 3\r\nConnection: close\r\n\r\n",
            'abc';
        exit 0;
    }
}

###############################################################################
