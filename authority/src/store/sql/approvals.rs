//! Tickets that operators ask for and administrators approve.

use signet_evidence::RejectionCode;

use super::enrol::{add_operator, add_ticket_row};
use super::mint::{consume_challenge, require_live_device, store_clock, store_counter};
use super::*;

const TABLE: &str = "ticket_requests";
/// Requests of one operator's machines, or for one operator, that can wait at the same time.
const MAX_WAITING: i64 = 8;

/// A request with the ticket that came of it, where `$condition`.
macro_rules! request_where {
    ($condition:literal) => {
        query(concat!(
            "SELECT id, document, ticket_requests.expires, tickets.created_at AS opens,
             tickets.expires AS ticket_expires, tickets.used_at
             FROM ticket_requests LEFT JOIN tickets ON tickets.digest = ticket_requests.id WHERE ",
            $condition
        ))
    };
}

impl SqlStore {
    pub(super) async fn insert_request(
        &self,
        request: &NewTicketRequest,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let TicketDocument { operator, requested_by, requested_at, .. } = &request.document;
        let mut transaction = self.begin().await?;
        require_live_device(&mut transaction, &request.device).await?;
        let row = query(
            "SELECT count(*) FROM ticket_requests WHERE (operator = $1 OR requested_by = $2)
             AND approved_at IS NULL AND expires > $3",
        )
        .bind(operator)
        .bind(requested_by)
        .bind(*requested_at)
        .fetch_one(&mut transaction)
        .await?;
        if row.get::<i64>(0)? >= MAX_WAITING {
            return Err(RejectionCode::RequestsWaiting.into());
        }
        let inserted = query(
            "INSERT INTO ticket_requests (id, document, operator, requested_by, device,
             requested_at, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(request.id.to_vec())
        .bind(&request.bytes)
        .bind(operator)
        .bind(requested_by)
        .bind(request.device.as_bytes())
        .bind(*requested_at)
        .bind(request.expires.0)
        .execute(&mut transaction)
        .await;
        match inserted {
            // The same ticket twice would have one approval count for two requests.
            Err(error) if is_unique_violation(&error) => {
                return Err(RejectionCode::TicketInvalid.into());
            }
            inserted => inserted?,
        };
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn write_approval(
        &self,
        approval: &TicketApproval,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let mut transaction = self.begin().await?;
        consume_challenge(&mut transaction, &approval.challenge).await?;
        require_live_device(&mut transaction, &approval.device).await?;
        store_clock(&mut transaction, &approval.device, &approval.clock).await?;
        let (credential, count) = &approval.credential;
        store_counter(&mut transaction, credential, *count, approval.at).await?;
        let request = query(
            "SELECT document FROM ticket_requests WHERE id = $1 AND approved_at IS NULL AND expires > $2",
        )
        .bind(approval.request.to_vec())
        .bind(approval.at.0)
        .fetch_optional(&mut transaction)
        .await?;
        let document = document(&request.ok_or(RejectionCode::TicketInvalid)?)?.1;
        insert_approval(&mut transaction, approval).await?;
        let approvals = approvals(&mut transaction, &approval.request).await?;
        let quorum = &approval.quorum;
        // An administrator who was removed or revoked since approves nothing any more.
        let counted = approvals.iter().filter(|one| {
            !one.revoked && quorum.administrators.contains(&one.approved.administrator)
        });
        if counted.count() >= quorum.approvals {
            open_ticket(&mut transaction, approval, &document).await?;
        }
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn read_request(
        &self,
        id: &Sha256,
    ) -> Result<Option<TicketRequest>, StoreError> {
        let mut connection = self.reader().await?;
        let row =
            request_where!("id = $1").bind(id.to_vec()).fetch_optional(&mut connection).await?;
        match row {
            Some(row) => Ok(Some(request(&mut connection, &row).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn read_requests(
        &self,
        since: UnixTime,
    ) -> Result<Vec<TicketRequest>, StoreError> {
        let mut connection = self.reader().await?;
        let rows = request_where!("requested_at >= $1 ORDER BY requested_at, id LIMIT 1000")
            .bind(since.0)
            .fetch_all(&mut connection)
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.push(request(&mut connection, row).await?);
        }
        Ok(found)
    }
}

struct Counted {
    approved: Approved,
    revoked: bool,
}

async fn insert_approval(
    connection: &mut Connection,
    approval: &TicketApproval,
) -> Result<(), CommitError> {
    let inserted = query(
        "INSERT INTO ticket_approvals (request, administrator, device, evidence, approved_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(approval.request.to_vec())
    .bind(&approval.administrator)
    .bind(approval.device.as_bytes())
    .bind(approval.evidence.to_vec())
    .bind(approval.at.0)
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        // One person, or one machine: malware there would see both touches.
        Err(error) if is_unique_violation(&error) => Err(RejectionCode::ApprovalRepeated.into()),
        Err(error) => Err(error.into()),
    }
}

async fn open_ticket(
    connection: &mut Connection,
    approval: &TicketApproval,
    document: &TicketDocument,
) -> Result<(), CommitError> {
    let corrupt = StoreError::Corrupt { table: TABLE };
    let ticket = NewTicket {
        digest: approval.request,
        kind: TicketKind::from_name(&document.kind).ok_or(corrupt)?,
        operator: document.operator.clone(),
        asset: document.asset.clone(),
        machine: TicketMachine::default(),
        created_at: approval.quorum.opens,
        expires: approval.quorum.expires,
    };
    add_operator(connection, &ticket.operator, approval.at).await?;
    add_ticket_row(connection, &ticket).await?;
    query("UPDATE ticket_requests SET approved_at = $1 WHERE id = $2")
        .bind(approval.at.0)
        .bind(approval.request.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

async fn approvals(
    connection: &mut Connection,
    request: &Sha256,
) -> Result<Vec<Counted>, StoreError> {
    let rows = query(
        "SELECT administrator, approved_at, operators.revoked_at IS NOT NULL AS revoked
         FROM ticket_approvals JOIN operators ON operators.name = administrator
         WHERE request = $1 ORDER BY approved_at, administrator",
    )
    .bind(request.to_vec())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let approved = Approved {
                administrator: column(row, "administrator")?,
                at: UnixTime(column(row, "approved_at")?),
            };
            Ok(Counted { approved, revoked: column(row, "revoked")? })
        })
        .collect()
}

fn document(row: &Row) -> Result<(Vec<u8>, TicketDocument), StoreError> {
    let bytes: Vec<u8> = column(row, "document")?;
    let document = serde_json::from_slice(&bytes);
    Ok((bytes, document.map_err(|_| StoreError::Corrupt { table: TABLE })?))
}

async fn request(connection: &mut Connection, row: &Row) -> Result<TicketRequest, StoreError> {
    let corrupt = || StoreError::Corrupt { table: TABLE };
    let id: Vec<u8> = column(row, "id")?;
    let id: Sha256 = id.try_into().map_err(|_| corrupt())?;
    let (bytes, document) = document(row)?;
    let (opens, expires): (Option<i64>, Option<i64>) =
        (column(row, "opens")?, column(row, "ticket_expires")?);
    let used: Option<i64> = column(row, "used_at")?;
    let ticket = opens.zip(expires).map(|(opens, expires)| OpenedTicket {
        opens: UnixTime(opens),
        expires: UnixTime(expires),
        used: used.map(UnixTime),
    });
    let approvals = approvals(connection, &id).await?;
    Ok(TicketRequest {
        id,
        document,
        bytes,
        expires: UnixTime(column(row, "expires")?),
        approvals: approvals.into_iter().map(|one| one.approved).collect(),
        ticket,
    })
}
