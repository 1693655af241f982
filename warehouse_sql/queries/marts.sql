-- name: delete_vehicle_efficiency
DELETE FROM vehicle_efficiency_hourly WHERE hour_start >= %(start)s AND hour_start < %(end)s

-- name: prune_vehicle_efficiency
-- By row address, so that a statement takes no more than it is told to; the pool of the marts has
-- no other writer.
DELETE FROM vehicle_efficiency_hourly
WHERE ctid = ANY (ARRAY(SELECT ctid FROM vehicle_efficiency_hourly WHERE hour_start < %(before)s
                        ORDER BY hour_start LIMIT %(most)s))

-- name: copy_vehicle_efficiency
COPY vehicle_efficiency_hourly
    (hour_start, vehicle_id, energy_ac_kwh, energy_dc_kwh, loss_kwh, efficiency_percent, status, reason,
     charger_class, data_points_meter, data_points_vehicle, coverage_ac, coverage_dc, matched_share_ac,
     matched_share_dc, longest_gap_seconds, resets, duplicates, average_battery_temp, link_source,
     meter_ids, matched_energy_ac_kwh, unmatched_energy_ac_kwh, gross_energy_ac_kwh,
     gross_matched_energy_ac_kwh, unplaced_energy_ac_kwh, left_out_energy_ac_kwh, left_out_ac,
     conflicts_ac, conflicting_energy_ac_kwh, known_ac_seconds, first_ac, last_ac, inner_gap_ac_seconds,
     matched_energy_dc_kwh, unmatched_energy_dc_kwh, gross_energy_dc_kwh, gross_matched_energy_dc_kwh,
     unplaced_energy_dc_kwh, left_out_energy_dc_kwh, left_out_dc, conflicts_dc,
     conflicting_energy_dc_kwh, known_dc_seconds, first_dc, last_dc, inner_gap_dc_seconds,
     battery_temp_sum, battery_temp_count)
FROM STDIN

-- name: vehicle_efficiency_between
SELECT hour_start, vehicle_id, energy_ac_kwh, energy_dc_kwh, loss_kwh, efficiency_percent, status,
       reason, charger_class, data_points_meter, data_points_vehicle, coverage_ac, coverage_dc,
       matched_share_ac, matched_share_dc, longest_gap_seconds, resets, duplicates,
       average_battery_temp, link_source, meter_ids, matched_energy_ac_kwh, unmatched_energy_ac_kwh,
       gross_energy_ac_kwh, gross_matched_energy_ac_kwh, unplaced_energy_ac_kwh, left_out_energy_ac_kwh,
       left_out_ac, conflicts_ac, conflicting_energy_ac_kwh, known_ac_seconds, first_ac, last_ac,
       inner_gap_ac_seconds, matched_energy_dc_kwh, unmatched_energy_dc_kwh, gross_energy_dc_kwh,
       gross_matched_energy_dc_kwh, unplaced_energy_dc_kwh, left_out_energy_dc_kwh, left_out_dc,
       conflicts_dc, conflicting_energy_dc_kwh, known_dc_seconds, first_dc, last_dc,
       inner_gap_dc_seconds, battery_temp_sum, battery_temp_count
FROM vehicle_efficiency_hourly WHERE hour_start >= $1 AND hour_start < $2 ORDER BY hour_start, vehicle_id

-- name: delete_fleet_efficiency
DELETE FROM fleet_efficiency_hourly WHERE hour_start >= %(start)s AND hour_start < %(end)s

-- name: prune_fleet_efficiency
DELETE FROM fleet_efficiency_hourly
WHERE ctid = ANY (ARRAY(SELECT ctid FROM fleet_efficiency_hourly WHERE hour_start < %(before)s
                        ORDER BY hour_start LIMIT %(most)s))

-- name: copy_fleet_efficiency
COPY fleet_efficiency_hourly
    (hour_start, energy_ac_kwh, energy_dc_kwh, rated_energy_ac_kwh, rated_energy_dc_kwh, loss_kwh,
     efficiency_percent, unlinked_energy_ac_kwh, vehicles, vehicles_excellent, vehicles_good,
     vehicles_warning, vehicles_critical, vehicles_idle, vehicles_insufficient_data,
     vehicles_unmapped, vehicles_implausible)
FROM STDIN

-- name: fleet_efficiency_between
SELECT hour_start, energy_ac_kwh, energy_dc_kwh, rated_energy_ac_kwh, rated_energy_dc_kwh, loss_kwh,
       efficiency_percent, unlinked_energy_ac_kwh, vehicles, vehicles_excellent, vehicles_good,
       vehicles_warning, vehicles_critical, vehicles_idle, vehicles_insufficient_data,
       vehicles_unmapped, vehicles_implausible
FROM fleet_efficiency_hourly WHERE hour_start >= $1 AND hour_start < $2 ORDER BY hour_start

-- name: delete_charger_efficiency
DELETE FROM charger_efficiency_hourly WHERE hour_start >= %(start)s AND hour_start < %(end)s

-- name: prune_charger_efficiency
DELETE FROM charger_efficiency_hourly
WHERE ctid = ANY (ARRAY(SELECT ctid FROM charger_efficiency_hourly WHERE hour_start < %(before)s
                        ORDER BY hour_start LIMIT %(most)s))

-- name: copy_charger_efficiency
COPY charger_efficiency_hourly
    (hour_start, meter_id, charger_class, energy_ac_kwh, unlinked_energy_ac_kwh, energy_dc_kwh,
     loss_kwh, efficiency_percent, status, reason, data_points_meter, data_points_vehicle, coverage_ac,
     coverage_dc, matched_share_ac, matched_share_dc, longest_gap_seconds, resets, duplicates,
     vehicle_ids, unlinked_known_ac_seconds, matched_energy_ac_kwh, unmatched_energy_ac_kwh,
     gross_energy_ac_kwh, gross_matched_energy_ac_kwh, unplaced_energy_ac_kwh, left_out_energy_ac_kwh,
     left_out_ac, conflicts_ac, conflicting_energy_ac_kwh, known_ac_seconds, first_ac, last_ac,
     inner_gap_ac_seconds, matched_energy_dc_kwh, unmatched_energy_dc_kwh, gross_energy_dc_kwh,
     gross_matched_energy_dc_kwh, unplaced_energy_dc_kwh, left_out_energy_dc_kwh, left_out_dc,
     conflicts_dc, conflicting_energy_dc_kwh, known_dc_seconds, first_dc, last_dc, inner_gap_dc_seconds)
FROM STDIN

-- name: charger_efficiency_between
SELECT hour_start, meter_id, charger_class, energy_ac_kwh, unlinked_energy_ac_kwh, energy_dc_kwh,
       loss_kwh, efficiency_percent, status, reason, data_points_meter, data_points_vehicle,
       coverage_ac, coverage_dc, matched_share_ac, matched_share_dc, longest_gap_seconds, resets,
       duplicates, vehicle_ids, unlinked_known_ac_seconds, matched_energy_ac_kwh,
       unmatched_energy_ac_kwh, gross_energy_ac_kwh, gross_matched_energy_ac_kwh,
       unplaced_energy_ac_kwh, left_out_energy_ac_kwh, left_out_ac, conflicts_ac,
       conflicting_energy_ac_kwh, known_ac_seconds, first_ac, last_ac, inner_gap_ac_seconds,
       matched_energy_dc_kwh, unmatched_energy_dc_kwh, gross_energy_dc_kwh, gross_matched_energy_dc_kwh,
       unplaced_energy_dc_kwh, left_out_energy_dc_kwh, left_out_dc, conflicts_dc,
       conflicting_energy_dc_kwh, known_dc_seconds, first_dc, last_dc, inner_gap_dc_seconds
FROM charger_efficiency_hourly WHERE hour_start >= $1 AND hour_start < $2 ORDER BY hour_start, meter_id
