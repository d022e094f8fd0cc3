#!/usr/bin/perl

# The stream of events: live, resumed, reset, filtered, as lines, and clients
# that join in the middle of many changes.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Time::HiRes qw/time/;

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();

sub ids { $_[0] =~ /^id: (\S+)/mg }
sub patch { $d->call('PATCH', '/api/v1/services/a', { description => $_[0] }) }

$d->call('POST', '/api/v1/services', { name => 'a' });

###############################################################################

my $s = $d->stream('/api/v1/events');
my $text = $d->until($s, qr/retry: 2000/);
like($text, qr{^Content-Type: text/event-stream}m, 'type');
like($text, qr/^X-Accel-Buffering: no/m, 'not to be collected');

patch('one');
$text = $d->until($s, qr/^event: service_updated\ndata: .*\n\n/m);
like($text, qr/^event: service_updated/m, 'live');
like($text, qr/"changed":\["description"\]/, 'what has changed');
my $last = (ids($text))[-1];         # that of the creation may come before
close $s;

patch($_) for 'two', 'three';
my $n = @{[ ids($d->until($d->stream('/api/v1/events',
    'Last-Event-ID' => $last), qr/(?:^id: .*?){2}/ms)) ]};
is($n, 2, 'what was missed comes first');

like($d->until($d->stream('/api/v1/events?last_event_id=99999999999999-0'),
    qr/^event: reset/m), qr/another store/, 'an id of another store: reset');
is($d->call('GET', '/api/v1/events?follow=false', undef,
    'Last-Event-ID' => 'x')->{status}, 400, 'no id at all');

like($d->until($d->stream('/api/v1/events?snapshot=true'),
    qr/^event: snapshot\ndata: .*\n\n/m), qr/"services":\[\{.*"name":"a"/,
    'a snapshot');

my $r = $d->call('GET', '/api/v1/events?follow=false&limit=2', undef,
    Accept => 'application/x-ndjson');
is(scalar(() = $r->{body} =~ /^\{"type"/mg), 2, 'lines, the newest two');

$s = $d->stream('/api/v1/events?types=service_deleted,service_created&service=b',
    Accept => 'application/x-ndjson');
$d->until($s, qr/\r\n\r\n/);
patch('four');
$d->call('POST', '/api/v1/services', { name => 'b' });
$d->call('POST', '/api/v1/services', { name => 'c' });
$d->call('DELETE', '/api/v1/services/b');
$text = $d->until($s, qr/service_deleted/);
unlike($text, qr/service_updated|"name":"c"/, 'only what was asked for');
like($text, qr/service_created.*service_deleted/s, 'all that was asked for');
close $s;

# joining in the middle: nothing lost, nothing twice

my $base = (ids($d->until($d->stream('/api/v1/events?follow=false&limit=1'),
    qr/^id: .*\n\n/ms)))[-1];

my @streams;

for my $i (1 .. 40) {
    patch("n$i");
    push @streams, $d->stream('/api/v1/events', 'Last-Event-ID' => $base)
        if $i % 4 == 0;
}

$d->call('DELETE', '/api/v1/services/a');

my %seen;

for (@streams) {
    my @ids = ids($d->until($_, qr/service_deleted/));
    my %ids = map { $_ => 1 } @ids;
    $seen{ join ' ', @ids }++;
    is(keys %ids, @ids, 'none twice') if keys %ids != @ids;
}

is(keys %seen, 1, 'ten that joined at ten times saw the same');
is(scalar(split ' ', (keys %seen)[0]), 41, 'which is all');
close $_ for @streams;

# one that does not read

my $slow = $d->stream('/api/v1/events?snapshot=true');
$d->call('POST', '/api/v1/services', { name => 'slow', description => 'x' x 900 });

my $start = time();

for my $i (1 .. 150) {
    $d->call('PATCH', '/api/v1/services/slow', { labels => { n => "$i" } });
}

is($d->call('GET', '/api/v1/services/slow')->{json}{labels}{n}, 150,
    'one that does not read hinders nobody');
close $slow;

# heartbeat, and that those who left are forgotten

$s = $d->stream('/api/v1/events');
$d->until($s, qr/retry/);
$start = time();
like($d->until($s, qr/^: heartbeat/m, 16), qr/^: heartbeat/m, 'heartbeat');
cmp_ok(time() - $start, '<=', 15, 'within 15 s');
close $s;

my $left;
my $end = time() + 15;

do {
    $d->call('PATCH', '/api/v1/services/slow', { labels => { t => time() } });
    ($left) = $d->call('GET', '/metrics')->{body}
        =~ /^corrald_http_streams (\d+)/m;
} while $left && time() < $end;

is($left, 0, 'clients that left are forgotten');

###############################################################################

$d->finish();

done_testing();
