#!/usr/bin/perl

# Revocations through REST and the command line, down to real workers, which
# read them with the rights that the embedded Redis gives a gateway.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;
use POSIX qw/strftime/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();
my $ctl = "$Test::Corral::BUILD/corral";
my $r;

$t->plan(35 + 3);
$s->start(2);
$s->echo('echo', 1);

###############################################################################

# nothing yet

$r = $d->api('GET', '/revocations');
is("$d->{http} $r->{total}", '200 0', 'nothing is revoked');

# a session: what is open ends, new ones are refused

my %ws = map { $_ => open_ws($_) } qw/a b c/;

$r = $d->api('POST', '/revocations', { revocation_id => 'session:a' });
is($d->{http}, 201, 'revoked');
is("$r->{revocation_id} $r->{kind} $r->{name}", 'session:a session a', 'this');
like($r->{expires_at}, qr/^20\d\d-.*Z$/, 'until a time');
is($ws{a}->close_code(), 4401, 'its connection ends');
ok(wait_for(sub {
    !grep { http_get('/?service=echo&session_id=a') !~ / 401 .*token_revoked/s }
        1 .. 20
}, 10), 'it is refused');
is($ws{b}->ask('still'), 'still', 'others go on');

# until when

my $end = at(3600);
$r = $d->api('POST', '/revocations', { revocation_id => 'token:%2F ä:b',
    expires_at => $end });
is($d->{http}, 201, 'any name');
$r = $d->api('GET', '/revocations?limit=1');
is("$r->{total} $r->{items}[0]{name}", '2 %2F ä:b', 'the first to end');
is(substr($r->{items}[0]{expires_at}, 0, 19), substr($end, 0, 19), 'its end');
$r = $d->api('GET', "/revocations?limit=1&cursor=$r->{next_cursor}");
is($r->{items}[0]{revocation_id}, 'session:a', 'the next page');

# what is wrong changes nothing

for ([ {}, 'nothing' ], [ { revocation_id => 'session' }, 'no name' ],
    [ { revocation_id => 'session:' }, 'an empty one' ],
    [ { revocation_id => 'nobody:x' }, 'another kind' ],
    [ { revocation_id => 'token:' . 'x' x 201 }, 'a long one' ],
    [ { revocation_id => 'token:x', expires_at => at(-5) }, 'a time gone by' ],
    [ { revocation_id => 'token:x', expires_at => at(400 * 86400) },
        'a time too far' ],
    [ { revocation_id => 'token:x', expires_at => 'soon' }, 'no time' ],
    [ { revocation_id => 'token:x', until => at(5) }, 'an unknown member' ])
{
    $r = $d->api('POST', '/revocations', $_->[0]);
    is($d->{http}, 422, $_->[1]);
}

$d->api('DELETE', '/revocations/session:nobody');
is($d->{http}, 404, 'what is not revoked');
is($d->api('GET', '/revocations')->{total}, 2, 'nothing has changed');

# undone

$d->api('DELETE', '/revocations/session:a');
is($d->{http}, 200, 'undone');
ok(wait_for(sub { http_get('/?service=echo&session_id=a') =~ / 200 / }, 10),
    'it may come again');

# the command line

like(ctl('revoke', 'session:b', 'subject:ann', '--for', '2h'),
    qr/^session:b: revoked until .*^subject:ann: revoked/ms, 'corral revoke');
is($ws{b}->close_code(), 4401, 'its connection ends');
like(ctl('revocations'), qr/^subject:ann +20/m, 'corral revocations');
like(ctl('unrevoke', 'session:b'), qr/^session:b: revoked no longer/m,
    'corral unrevoke');
like(ctl('revoke', 'session:b', '--for', 'ever'), qr/--for is "ever"/,
    'a wrong time');
like(ctl('unrevoke', 'session:b'), qr/is not revoked/, 'nothing to undo');

# more than one page of the API

my $before = $d->api('GET', '/revocations')->{total};
$d->api('POST', '/revocations', { revocation_id => "token:n$_" }) for 1 .. 1000;
my $names = ctl('revocations', '-o', 'name');
is(scalar(split /\n/, $names), $before + 1000, 'all pages');
like($names, qr/^token:n$_$/m, "the $_. of them") for 1, 1000;
my $list = decode_json(ctl('revocations', '-o', 'json'));
is(@{ $list->{items} } . ($list->{has_more} ? 'more' : ''), $before + 1000,
    'as one list');

is($ws{c}->ask('still'), 'still', 'who was not meant goes on');
$ws{c}->close();

$s->finish();

###############################################################################

sub open_ws {
    my ($session) = @_;
    my $ws = $t->websocket("/?service=echo&session_id=$session", timeout => 10);
    die 'no handshake: ' . $ws->head() unless $ws->accepted();
    $ws->ask('!id');
    return $ws;
}

sub at { strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time() + $_[0])) }

sub ctl {
    my (@args) = @_;
    local $ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
    local $ENV{CORRAL_TOKEN} = $d->{token};
    my $pid = open my $fh, '-|' or do {
        open STDIN, '<', '/dev/null';
        open STDERR, '>&', \*STDOUT;
        exec $ctl, @args;
        die "$ctl: $!\n";
    };
    local $/;
    return scalar <$fh>;
}

###############################################################################
